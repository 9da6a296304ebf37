"""Stands in for an editor server: says whose it is, with what extensions and settings."""
import http.server
import json
import os


class Editor(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        extensions = sorted(os.listdir("extensions"))
        with open("settings.json") as settings:
            answer = {"owner": os.environ["OWNER"], "extensions": extensions, "settings": json.load(settings)}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Editor).serve_forever()
