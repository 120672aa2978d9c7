"""The report's style sheet: light and dark by the reader's preference, one column on a narrow screen."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191f; --muted: #5b6472; --line: #dfe3e8; --soft: #f0f2f5;
  --series-0: #2563eb; --series-1: #d9730d; --series-2: #0f9d76; --series-3: #9b51c9;
  --good: #0b7a55; --good-soft: #ddf3ea; --bad: #b3261e; --bad-soft: #fbe4e2; --warn: #8a5a00; --warn-soft: #fbefd5;
  --think: #eef3ff; --think-edge: #9db7f5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101318; --card: #191d24; --ink: #e8eaee; --muted: #9aa4b2; --line: #2d333d; --soft: #21262f;
    --series-0: #6ea0ff; --series-1: #f0a04b; --series-2: #42c99c; --series-3: #c08be8;
    --good: #5fd3a6; --good-soft: #143528; --bad: #ff8f85; --bad-soft: #431d1b; --warn: #f0c064; --warn-soft: #3d2f10;
    --think: #1b2436; --think-edge: #3f5f9f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 40px 0 4px; letter-spacing: -0.005em; }
h3 { font-size: 14px; margin: 0 0 8px; font-weight: 600; }
p { margin: 0 0 12px; }
.muted { color: var(--muted); }
.small { font-size: 13px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; min-width: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; }
.result .label { color: var(--muted); font-weight: 600; }
.result .figure { font-size: 38px; line-height: 1.15; font-weight: 680; letter-spacing: -0.02em; margin: 2px 0; }
.result .gain { color: var(--good); font-weight: 600; font-size: 13px; }
.result .note { color: var(--muted); font-size: 13px; }
.range { position: relative; height: 8px; border-radius: 4px; background: var(--soft); margin: 8px 0 10px; }
.range i, .range b { position: absolute; top: 0; bottom: 0; left: 0; border-radius: 4px; background: var(--series-0); }
.range i { opacity: .3; }
.range b { min-width: 3px; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 16px; }
.curves svg { display: block; width: 100%; height: auto; }
.curves svg text { font-family: inherit !important; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-size: 12.5px; color: var(--muted); font-weight: 600; white-space: nowrap; }
th, td { padding: 8px 14px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.num, th.num { text-align: right; white-space: nowrap; }
thead th:first-child { width: 24%; }
td .sub { display: block; color: var(--muted); font-size: 12px; }
td.wide { width: 45%; min-width: 140px; }
.bar { height: 10px; margin-top: 6px; border-radius: 5px; background: var(--series-0); min-width: 2px; }
.badge {
  display: inline-block; padding: 1px 9px; border-radius: 999px; font-size: 12px; font-weight: 600; white-space: nowrap;
  background: var(--soft); color: var(--muted);
}
.badge.good { background: var(--good-soft); color: var(--good); }
.badge.bad { background: var(--bad-soft); color: var(--bad); }
.badge.warn { background: var(--warn-soft); color: var(--warn); }
.sample { margin-top: 16px; }
.sample .question { font-weight: 600; white-space: pre-wrap; overflow-wrap: anywhere; margin-bottom: 2px; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; margin-top: 12px; }
.side { min-width: 0; }
.side header { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; margin-bottom: 6px; font-size: 13px; }
.text {
  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: 8px 12px; border-radius: 8px;
  background: var(--soft); max-height: 340px; overflow: auto;
}
.text.thinking { background: var(--think); border-left: 3px solid var(--think-edge); margin-bottom: 6px; }
.text .name { display: block; font: 600 11.5px/1.6 system-ui, sans-serif; color: var(--muted); }
.control { color: var(--bad); background: var(--bad-soft); border-radius: 3px; padding: 0 2px; }
details { margin-top: 16px; }
details .curves { margin-top: 16px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow: auto; font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; margin: 12px 0 0; }
@media (max-width: 720px) { main { padding: 20px 14px 48px; } .sides { grid-template-columns: 1fr; } }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""
