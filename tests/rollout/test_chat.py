import json
import shutil
from pathlib import Path

import pytest
from tiny_chat import make_chat, write_tiny

from rlvr.errors import ModelError
from rlvr.learner.tiny import CHATML
from rlvr.rollout.chat import Chat
from rlvr.types import Problem

PROBLEM = Problem(id="p", question="1+2", answer="3")
OPENS = CHATML.replace("<|im_start|>assistant\\n{% endif %}", "<|im_start|>assistant\\n<think>\\n{% endif %}")
OPENS = OPENS.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
DROPS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def chat(path: str) -> Chat:
    return make_chat(path)


@pytest.fixture
def opening(path: str, tmp_path: Path) -> Chat:
    (tmp_path / "template.jinja").write_text(OPENS)
    return make_chat(path, template=tmp_path / "template.jinja")


def one_line(error: pytest.ExceptionInfo[ModelError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_prompt_is_the_rendered_template(chat: Chat) -> None:
    prompt = chat.prompt(PROBLEM)
    assert chat.tokenizer.decode(prompt.token_ids) == "<|im_start|>user\n1+2<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.prefill == ""
    assert prompt.problem is PROBLEM
    # Markers are one token each, and so is every word of the vocabulary: three of them make the question.
    ids = {name: chat.tokenizer.convert_tokens_to_ids(name) for name in ("<|im_start|>", "<|im_end|>", "1", "+", "2")}
    assert prompt.token_ids[0] == ids["<|im_start|>"]
    assert prompt.token_ids[3:7] == (ids["1"], ids["+"], ids["2"], ids["<|im_end|>"])


def test_system_and_instruction_are_rendered(path: str) -> None:
    chat = make_chat(path, system="Think.", instruction=" Box it.")
    text = chat.tokenizer.decode(chat.prompt(PROBLEM).token_ids)
    assert text.startswith("<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\n1+2 Box it.<|im_end|>\n")


def test_the_recipes_system_message_goes_before_the_problems_own(path: str, chat: Chat) -> None:
    own = Problem(id="p", question="1+2", answer="3", system="Be brief.")
    user = {"role": "user", "content": "1+2"}
    assert chat.messages(own) == [{"role": "system", "content": "Be brief."}, user]
    assert make_chat(path, system="Think.").messages(own) == [{"role": "system", "content": "Think."}, user]


def test_a_template_that_opens_the_thinking_is_noticed(opening: Chat) -> None:
    prompt = opening.prompt(PROBLEM)
    assert prompt.prefill == "<think>\n"
    assert opening.tokenizer.decode(prompt.token_ids).endswith("<|im_start|>assistant\n<think>\n")


@pytest.mark.parametrize("question", ["what is <think>?", "<think>", "<think>\n"])
def test_a_question_about_the_tag_opens_nothing(chat: Chat, question: str) -> None:
    assert chat.prompt(Problem(id="p", question=question, answer="3")).prefill == ""


def test_decode_drops_the_closing_eos_and_nothing_else(chat: Chat) -> None:
    eos = chat.eos_ids[0]
    body = chat.tokenizer.encode("<think>1+2=3</think>3", add_special_tokens=False)
    assert chat.decode([*body, eos]) == "<think>1+2=3</think>3"
    assert chat.decode(body) == "<think>1+2=3</think>3"  # cut off by the length limit
    assert chat.decode([*body, eos, eos]) == "<think>1+2=3</think>3<|im_end|>"
    assert chat.decode([eos, *body]) == "<|im_end|><think>1+2=3</think>3"
    pad = chat.tokenizer.pad_token_id
    assert chat.decode([*body, pad]) == "<think>1+2=3</think>3<|pad|>"
    assert (chat.decode([]), chat.decode([eos])) == ("", "")


def test_thinking_tokens(chat: Chat) -> None:
    assert chat.thinking_tokens("<think>1+2=3</think>3") == 5
    assert chat.thinking_tokens("<think>\n1+2") == 3  # never closed
    assert chat.thinking_tokens("<think>\n</think>3") == 0
    assert chat.thinking_tokens("1+2=3</think>3") == 0


def test_trace_has_the_boundary_of_sampling(chat: Chat) -> None:
    prompt = chat.prompt(PROBLEM)
    sequence = chat.trace(prompt, "<think>1+2=3</think>3")
    assert sequence.prompt_length == len(prompt.token_ids)
    assert sequence.token_ids[: sequence.prompt_length] == prompt.token_ids
    target = sequence.token_ids[sequence.prompt_length :]
    assert target[-1] == chat.eos_ids[0]
    assert chat.decode(target) == "<think>1+2=3</think>3"
    assert sequence.loss_weights == (1.0,) * 9  # two tags, five words of thinking, the answer, the end


def test_trace_under_an_open_prefill_does_not_open_twice(opening: Chat) -> None:
    prompt = opening.prompt(PROBLEM)
    sequence = opening.trace(prompt, "<think>\n1+2=3</think>3")
    assert opening.tokenizer.decode(sequence.token_ids).endswith("assistant\n<think>\n1+2=3</think>3<|im_end|>")
    assert sequence.token_ids == opening.trace(prompt, "<think>1+2=3</think>3").token_ids


def test_a_template_that_loses_the_thinking_is_refused(chat: Chat, path: str, tmp_path: Path) -> None:
    chat.refuse_lost_thinking()
    (tmp_path / "drops.jinja").write_text(DROPS)
    with pytest.raises(ModelError) as error:
        make_chat(path, template=tmp_path / "drops.jinja").refuse_lost_thinking()
    assert "chat.template" in one_line(error)


def test_a_folder_without_a_tokenizer(path: str, tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(Path(path) / name, tmp_path / name)
    with pytest.raises(ModelError) as error:
        make_chat(str(tmp_path))
    assert str(tmp_path) in one_line(error)
    assert "tokenizer" in one_line(error)


def test_a_folder_that_is_empty(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        make_chat(str(tmp_path))
    assert "tokenizer" in one_line(error)


def test_a_tokenizer_without_a_template(path: str, tmp_path: Path) -> None:
    folder = shutil.copytree(path, tmp_path / "model")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    file = folder / "tokenizer_config.json"
    told = json.loads(file.read_text())
    told.pop("chat_template", None)
    file.write_text(json.dumps(told))
    with pytest.raises(ModelError) as error:
        make_chat(str(folder))
    assert "chat.template" in one_line(error)
    (tmp_path / "given.jinja").write_text(CHATML)
    assert make_chat(str(folder), template=tmp_path / "given.jinja").prompt(PROBLEM).token_ids


def test_every_end_of_turn_is_known_the_tokenizers_first(path: str, tmp_path: Path) -> None:
    folder = shutil.copytree(path, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 9}))
    chat = make_chat(str(folder))
    own = chat.tokenizer.eos_token_id
    assert chat.eos_ids == (own, 7, 8, 9)
    assert chat.decode([260, 8]) == chat.decode([260])


def test_the_tiny_model_has_one_end_of_turn(chat: Chat) -> None:
    assert chat.eos_ids == (chat.tokenizer.convert_tokens_to_ids("<|im_end|>"),)
