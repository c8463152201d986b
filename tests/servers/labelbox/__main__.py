"""Run the stand-in by hand: `python -m tests.servers.labelbox [port]`."""

from __future__ import annotations

import sys
import threading

from . import LabelboxStandIn

if __name__ == "__main__":
    with LabelboxStandIn(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as stand_in:
        sys.stdout.write(
            f"endpoint={stand_in.endpoint} rest_endpoint={stand_in.rest_endpoint} api_key={stand_in.api_key}\n"
        )
        sys.stdout.flush()
        threading.Event().wait()
