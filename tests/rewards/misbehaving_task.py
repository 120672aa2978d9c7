"""A worker's task that does what the request says: what real libraries do now and then, without importing one."""

import os
import resource
import signal
import time
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    do = request["do"]
    if do == "compute":
        began = time.process_time()
        while time.process_time() - began < request.get("seconds", 1e9):
            pass
    elif do == "block":
        time.sleep(request["seconds"])
    elif do == "eat":
        bytearray(4 << 30)
    elif do == "keep":  # what an earlier check leaves behind
        KEPT.append(bytes(request["bytes"]))
    elif do == "crash":
        signal.raise_signal(signal.SIGSEGV)
    elif do == "exit":
        os._exit(3)
    elif do == "large and killed":
        KEPT.append(bytearray(600 << 20))
        signal.raise_signal(signal.SIGKILL)
    elif do == "long reply":
        return {"text": "x" * (2 << 20)}
    return {"pid": os.getpid(), "limit": resource.getrlimit(resource.RLIMIT_AS)[0], "echo": request.get("echo")}


KEPT: list[bytes | bytearray] = []
