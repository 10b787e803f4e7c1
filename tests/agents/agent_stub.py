"""Stands in for Claude Code and Codex: speaks their JSON lines, as recorded from Claude Code 2.1 and Codex 0.169.

Run under the name ``claude`` or ``codex``. What it does is said in the prompt, after ``DO:``. It notes how it was
called in ``called.json`` of the folder it runs in.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path("program.py")
SOLVE = '"""Doc."""\n\n\ndef solve(session, beta):\n    return None\n'


def say(event):
    print(json.dumps(event), flush=True)


def claude(do):
    say({"type": "system", "subtype": "init", "cwd": os.getcwd(), "model": "claude-test", "tools": ["Read", "Write"]})
    if do == "hang":
        say(assistant({"type": "text", "text": "thinking …"}))
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        time.sleep(1000)
    if do == "unpaid":
        print("error: unknown option '--safe-mode'", file=sys.stderr)
        sys.exit(1)
    say(assistant({"type": "text", "text": "I write \x1b[31mit.\u202e"}))
    if do in ("write", "budget"):
        PROGRAM.write_text(SOLVE)
        say(assistant({"type": "tool_use", "id": "toolu_1", "name": "Write", "input": {"file_path": "program.py"}}))
    if do == "link":
        PROGRAM.symlink_to("/etc/passwd")
    if do == "pipe":
        os.mkfifo(PROGRAM)
    if do == "huge":
        PROGRAM.write_bytes(b"#" * (2 << 20))
    if do == "answer":
        say(assistant({"type": "text", "text": f"```python\n{SOLVE}```"}))
    if do == "nonsense":
        PROGRAM.write_text(SOLVE)
        for line in ("not json", "[1]", '{"type": "assistant"}', '{"type": "result", "total_cost_usd": "lots"}'):
            print(line, flush=True)
        return 0
    error = {"budget": "error_max_budget_usd", "fail": "error_during_execution"}.get(do)
    say(
        {
            "type": "result",
            "subtype": error or "success",
            "is_error": bool(error),
            "num_turns": 2,
            **(
                {"errors": [f"Reached the limit, key {os.environ.get('ANTHROPIC_API_KEY')}"]}
                if error
                else {"result": "Done."}
            ),
            "total_cost_usd": 0.6015555,
            "usage": {"input_tokens": 0, "output_tokens": 0},  # as where a limit ends the work
            "modelUsage": {
                "claude-test": {
                    "inputTokens": 100,
                    "outputTokens": 50,
                    "cacheReadInputTokens": 10,
                    "cacheCreationInputTokens": 5,
                    "costUSD": 0.6,
                },
                "claude-small": {"inputTokens": 7, "outputTokens": 1, "costUSD": 0.0015555},
            },
        }
    )
    return 1 if error else 0


def assistant(block):
    usage = {"input_tokens": 100, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [block], "usage": usage}
    return {"type": "assistant", "message": message, "session_id": "s"}


def codex(do):
    say({"type": "thread.started", "thread_id": "t"})
    say({"type": "item.completed", "item": {"id": "item_0", "type": "error", "message": "no metadata"}})
    say({"type": "turn.started"})
    if do == "fail":
        say({"type": "error", "message": "Reconnecting... 2/5"})
        say({"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized: Incorrect API key"}})
        return 1
    if do == "die":
        say({"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": "Well,"}})
        print("thread panicked", file=sys.stderr)
        return 101
    PROGRAM.write_text(SOLVE)
    command = {"id": "item_1", "type": "command_execution", "command": "cat > program.py", "exit_code": 0}
    say({"type": "item.completed", "item": command})
    say({"type": "item.completed", "item": {"id": "item_2", "type": "agent_message", "text": "Done."}})
    used = {"input_tokens": 200, "cached_input_tokens": 40, "output_tokens": 60, "reasoning_output_tokens": 10}
    say({"type": "turn.completed", "usage": used})
    return 0


if __name__ == "__main__":
    prompt = sys.stdin.read()
    seen = sorted(str(path) for path in Path().rglob("*"))
    called = {"arguments": sys.argv[1:], "environment": dict(os.environ), "prompt": prompt, "seen": seen}
    Path("called.json").write_text(json.dumps(called))
    do = prompt.partition("DO:")[2].split()[0]
    sys.exit({"claude": claude, "codex": codex}[Path(sys.argv[0]).name](do))
