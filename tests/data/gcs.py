"""Google's storage for tests: as much of its JSON interface as gcsfs asks for, on this machine."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Store(ThreadingHTTPServer):
    """Objects of buckets by "bucket/name". `refuses` is a code by which all is answered."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects, self.refuses, self.asked = {}, 0, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def about(self, path):
        data, (bucket, _, name) = self.objects[path], path.partition("/")
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        told = {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(data))}
        return told | {"md5Hash": md5, "updated": "2026-01-01T00:00:00Z", "generation": "1"}

    def listed(self, bucket, prefix, delimiter):
        below = [one for one in sorted(self.objects) if one.startswith(f"{bucket}/{prefix}")]
        rest = {one: one[len(f"{bucket}/{prefix}") :] for one in below}
        deep = [one for one in below if delimiter and delimiter in rest[one]]
        folders = {prefix + rest[one].partition(delimiter)[0] + delimiter for one in deep}
        found = {"kind": "storage#objects", "prefixes": sorted(folders)}
        return found | {"items": [self.about(one) for one in below if one not in deep]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, code, content=b"", kind="application/json", **heads):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **heads,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handled(self):
        """Whether that was all; else what is asked for, of which object, and the body."""
        self.server.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.refuses:
            error = {
                "code": self.server.refuses,
                "message": "Anonymous callers may not",
            }
            self.answer(self.server.refuses, {"error": error})
            return None
        url = urlsplit(self.path)
        query = {name: one[0] for name, one in parse_qs(url.query).items()}
        found = re.search(r"/b/([^/]+)(?:/o(?:/(.+))?)?$", url.path)
        bucket, name = (found[1], unquote(found[2] or "")) if found else ("", "")
        return bucket, name, query, body

    def do_GET(self):
        if (asked := self.handled()) is None:
            return
        bucket, name, query, _ = asked
        path = f"{bucket}/{name}"
        if not name and "/o" in urlsplit(self.path).path:
            prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
            self.answer(200, self.server.listed(bucket, prefix, delimiter))
        elif path not in self.server.objects:
            self.answer(404, {"error": {"code": 404, "message": "No such object"}})
        elif query.get("alt") == "media" or "/download/" in self.path:
            data, given = self.server.objects[path], self.headers.get("Range")
            if given:
                start, _, stop = given.partition("=")[2].partition("-")
                data = data[int(start) : int(stop) + 1]
            md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
            own = {} if given else {"X-Goog-Hash": f"md5={md5}"}
            self.answer(206 if given else 200, data, "application/octet-stream", **own)
        else:
            self.answer(200, self.server.about(path))

    def do_POST(self):
        if (asked := self.handled()) is None:
            return
        bucket, _, _, body = asked
        edge = b"--" + self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        about, data = (one.partition(b"\n\n")[2] for one in body.split(edge)[1:3])
        name = json.loads(about)["name"]
        self.server.objects[f"{bucket}/{name}"] = data.removesuffix(b"\n")
        self.answer(200, self.server.about(f"{bucket}/{name}"))

    def do_DELETE(self):
        if (asked := self.handled()) is None:
            return
        self.server.objects.pop(f"{asked[0]}/{asked[1]}", None)
        self.answer(204)
