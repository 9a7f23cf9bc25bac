"""The whole local stack, with a small HTTP server in the API's place and no worker.

As a script, with the stack's own arguments, it runs the stack; with `api` it is that server.
"""

import http.server
import json
import os
import sys
from typing import Any

from orchestrator.local import __main__, stack

HANDED_OVER = (
    *("CPU_ENGINE", "DATABASE_URL", "DEFAULT_MODEL", "HOST", "MODEL_REPOSITORY", "PORT"),
    *("REDIS_URL", "RESULTS_DIR", "TRITON_URL", "UPLOAD_DIR"),
)


class Api(http.server.BaseHTTPRequestHandler):
    """Ready at once; tells what it was given."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        given = {name: os.environ.get(name) for name in HANDED_OVER}
        self.wfile.write(json.dumps(given).encode())

    def log_message(self, *_: Any) -> None:
        print("answered", self.path, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["api"]:
        address = (os.environ["HOST"], int(os.environ["PORT"]))
        http.server.ThreadingHTTPServer(address, Api).serve_forever()
    stack.SERVICES = (stack.api,)
    stack.API_COMMAND = (sys.executable, __file__, "api")
    sys.exit(__main__.main())
