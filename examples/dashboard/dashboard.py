"""Lists the apps of this project, as `runner ps --json` knows them: nothing is registered twice."""
import http.server
import json
import os
import subprocess

RUNNER = os.environ.get("RUNNER", "runner")


class Dashboard(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = b"fine"
        if self.path == "/apps":
            told = subprocess.run([RUNNER, "ps", "--json"], capture_output=True, check=True).stdout
            services = json.loads(told)["services"]
            apps = [
                {"name": app["name"], "state": app["state"], "url": f"http://127.0.0.1:{app['ports']['http']}/"}
                for app in services
                # One that was taken away has no definition any more while it stops.
                if app["name"] != "dashboard" and "http" in app["ports"]
            ]
            answer = json.dumps(apps).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Dashboard).serve_forever()
