"""A client without `async`: it says what is typed to the smallest server (`chat_six_lines.py`), and prints the rest.

telex run chat_six_lines:io --app-dir examples
python examples/sync_client.py http://127.0.0.1:8000
"""

import sys

import telex


def main(url: str) -> None:
    client = telex.sync.Client(url)

    @client.on("chat")
    def chat(who: str, text: str) -> None:  # in a thread of its own: it may block
        print("you:" if who == client.id else f"{who}:", text, flush=True)

    @client.on("disconnect")
    def gone(reason: telex.DisconnectReason) -> None:
        print(f"({reason})", flush=True)

    with client:
        for line in sys.stdin:
            try:
                print(f"({client.call('chat', line.rstrip(), timeout=5)})", flush=True)
            except (telex.AckTimeout, telex.Disconnected) as error:
                print(f"({error})", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
