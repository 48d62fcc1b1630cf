"""Verifies signatures of recorded requests with botocore, more strictly than AWS asks for.

Reads a job (service, region, keys by ID, requests) from the file that its argument names, and prints
a verdict for each request. Beyond the signature itself it demands that `host` and every `x-amz-*`
field are signed, that nothing is which a hop on the way may change, that the hash of the content is
right, and that every chunk of `aws-chunked` and its trailer are.
"""

import base64
import datetime
import hashlib
import hmac
import json
import re
import sys
from urllib.parse import quote, unquote_to_bytes

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

EMPTY = hashlib.sha256(b"").hexdigest()
SINGLE, ANYWHERE = "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"
SKEW = datetime.timedelta(minutes=5)
# What a hop may change or take away, and what botocore does not sign either.
MUTABLE = set(
    "connection expect forwarded keep-alive proxy-authorization te trailer transfer-encoding"
    " upgrade user-agent via x-amzn-trace-id".split()
)
# What would be a second, unsigned or contradicting credential.
PRESIGNED = re.compile(r"x-amz-(algorithm|credential|date|expires|security-token|signature|signedheaders)")


class Fault(Exception):
    """Why a request is refused."""


def demand(condition, text):
    if not condition:
        raise Fault(text)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Request:
    def __init__(self, told):
        self.method = told["method"]
        self.path, _, self.query = told["target"].partition("?")
        self.fields = [(name.lower(), value) for name, value in told["fields"]]
        self.content = base64.b64decode(told["content"])
        self.complete = told["complete"]

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def one(self, name):
        values = self.all(name)
        demand(len(values) == 1, f"`{name}` {len(values)} times")
        return values[0]

    def parameters(self):
        pairs = [part.partition("=") for part in self.query.split("&") if part]
        # A plus is a space in the queries of forms, and that is how AWS reads it.
        return [tuple(unquote_to_bytes(text.replace("+", " ")) for text in pair[::2]) for pair in pairs]

    def canonical_query(self):
        encode = lambda text: quote(text, safe="-_.~")  # noqa: E731
        return "&".join(f"{name}={value}" for name, value in sorted((encode(n), encode(v)) for n, v in self.parameters()))


class Verdict:
    def __init__(self, job, request):
        self.job, self.request = job, request
        self.told = {
            "fault": None,
            "access_key_id": "",
            "canonical_request": "",
            "signed_headers": [],
            "payload": "",
            "content_sha256": sha256(request.content),
            "chunks": [],
        }

    def reach(self):
        try:
            self.check()
        except Fault as fault:
            self.told["fault"] = str(fault)
        return self.told

    def check(self):
        request = self.request
        demand(request.complete, "the content did not arrive whole")
        for name, _ in request.parameters():
            name = name.decode("utf-8", "replace").lower()
            demand(not PRESIGNED.fullmatch(name), f"a presigned parameter: `{name}`")
        parts = re.fullmatch(
            r"(\S+) Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)", request.one("authorization")
        )
        demand(parts, "`authorization` is not of version 4")
        self.algorithm, credential, signed, self.signature = parts.groups()
        demand(self.algorithm in (SINGLE, ANYWHERE), f"algorithm {self.algorithm}")
        self.scoped(credential)
        self.covered(signed.split(";"))
        self.canonical()
        self.signed()
        self.payload()

    def scoped(self, credential):
        access_key, *scope = credential.split("/")
        self.told["access_key_id"] = access_key
        demand(access_key in self.job["keys"], f"unknown access key `{access_key}`")
        self.secret, self.token = (self.job["keys"][access_key][name] for name in ("secret", "token"))
        self.time = self.request.one("x-amz-date")
        demand(re.fullmatch(r"\d{8}T\d{6}Z", self.time), f"`x-amz-date` {self.time}")
        time = datetime.datetime.strptime(self.time, "%Y%m%dT%H%M%SZ")
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        demand(abs(now - time) < SKEW, f"stale: {self.time}")
        region, service = self.job["region"], self.job["service"]
        wanted = [self.time[:8], region, service, "aws4_request"]
        if self.algorithm == ANYWHERE:
            wanted.remove(region)
            demand(self.request.one("x-amz-region-set") == region, "another region set")
        demand(scope == wanted, f"scope {scope} where {wanted} is due")
        self.scope = "/".join(scope)
        tokens = self.request.all("x-amz-security-token")
        demand(tokens == ([self.token] if self.token else []), "not the token of these keys, once")

    def covered(self, signed):
        self.told["signed_headers"] = signed
        demand(signed == sorted(set(signed)), f"signed headers out of order: {signed}")
        present = {name for name, _ in self.request.fields}
        demand(set(signed) <= present, f"signed but absent: {set(signed) - present}")
        demand("host" in signed, "`host` is not signed")
        unsigned = {name for name in present if name.startswith("x-amz-")} - set(signed)
        demand(not unsigned, f"not signed: {unsigned}")
        demand(not MUTABLE & set(signed), f"signed though mutable: {MUTABLE & set(signed)}")

    def canonical(self):
        request, s3 = self.request, self.job["service"] == "s3"
        if s3:
            wanted = quote(unquote_to_bytes(request.path), safe="/-_.~")
            demand(request.path == wanted, f"path {request.path} where {wanted} is canonical")
            demand(request.all("x-amz-content-sha256"), "S3 wants `x-amz-content-sha256`")
        headers = HTTPHeaders()
        for name, value in request.fields:
            if name in self.told["signed_headers"]:
                headers.add_header(name, value)
        url = f"http://{request.one('host')}{request.path}?{request.canonical_query()}"
        self.aws = AWSRequest(request.method, url, headers, request.content)
        self.aws.context["timestamp"] = self.time
        kind = S3SigV4Auth if s3 else SigV4Auth
        credentials = Credentials("", self.secret, self.token)
        self.auth = kind(credentials, self.job["service"], self.job["region"])
        self.told["canonical_request"] = self.auth.canonical_request(self.aws)

    def signed(self):
        canonical = self.told["canonical_request"]
        if self.algorithm == SINGLE:
            to_sign = self.auth.string_to_sign(self.aws, canonical)
            wanted = self.auth.signature(to_sign, self.aws)
            demand(self.signature == wanted, "the signature does not match")
            return
        to_sign = "\n".join([ANYWHERE, self.time, self.scope, sha256(canonical.encode())])
        try:
            key = anywhere(self.told["access_key_id"], self.secret).public_key()
            key.verify(bytes.fromhex(self.signature), to_sign.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Fault("the signature does not match") from None

    def payload(self):
        request = self.request
        said = self.told["payload"] = self.told["canonical_request"].rsplit("\n", 1)[1]
        if said == "UNSIGNED-PAYLOAD":
            return
        if not said.startswith("STREAMING-"):
            demand(said == sha256(request.content), "the content has another hash")
            return
        trailing = said.endswith("-TRAILER")
        demand(said in ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), f"payload {said}")
        content = self.chunked(trailing, "UNSIGNED" not in said)
        length = request.one("x-amz-decoded-content-length")
        demand(length == str(len(content)), f"{len(content)} bytes where {length} were announced")
        self.told["content_sha256"] = sha256(content)

    def chunked(self, trailing, signed):
        rest, before, content = self.request.content, self.signature, b""
        while True:
            line, found, rest = rest.partition(b"\r\n")
            demand(found, "a chunk without a line")
            size, _, extension = line.decode("latin-1").partition(";")
            demand(re.fullmatch("[0-9a-fA-F]+", size), f"a chunk of size {size!r}")
            size = int(size, 16)
            chunk, rest = rest[:size], rest[size:]
            demand(len(chunk) == size, "a chunk is cut short")
            if signed:
                before = self.chain("PAYLOAD", before, f"{EMPTY}\n{sha256(chunk)}")
                demand(extension == f"chunk-signature={before}", f"the signature of chunk {len(self.told['chunks'])} does not match")
            else:
                demand(not extension, f"an unsigned chunk with {extension!r}")
            content += chunk
            if not size:
                break
            self.told["chunks"].append(size)
            demand(rest.startswith(b"\r\n"), "a chunk without its end")
            rest = rest[2:]
        if trailing:
            self.trailer(rest, before, signed)
        else:
            demand(rest == b"\r\n", f"{rest[:40]!r} after the last chunk")
        return content

    def trailer(self, rest, before, signed):
        lines = rest.decode("latin-1").split("\r\n")
        demand(lines[-2:] == ["", ""], f"a trailer without an end: {lines}")
        fields = dict(line.split(":", 1) for line in lines[:-2])
        fields = {name.lower(): value.strip() for name, value in fields.items()}
        signature = fields.pop("x-amz-trailer-signature", None)
        names = [name.strip().lower() for name in ",".join(self.request.all("x-amz-trailer")).split(",")]
        demand(sorted(fields) == sorted(names), f"trailer {list(fields)} where {names} was announced")
        if signed:
            text = "".join(f"{name}:{value}\n" for name, value in fields.items())
            wanted = self.chain("TRAILER", before, sha256(text.encode()))
            demand(signature == wanted, "the signature of the trailer does not match")

    def chain(self, what, before, hashed):
        to_sign = "\n".join([f"{SINGLE}-{what}", self.time, self.scope, before, hashed])
        key = f"AWS4{self.secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def anywhere(access_key, secret):
    """The key pair of version 4A (NIST SP 800-108 in counter mode, as AWS describes it)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for counter in range(1, 255):
        message = b"\0\0\0\1" + ANYWHERE.encode() + b"\0" + access_key.encode() + bytes([counter]) + b"\0\0\1\0"
        candidate = hmac.new(b"AWS4A" + secret.encode(), message, hashlib.sha256).digest()
        candidate = int.from_bytes(candidate, "big")
        if candidate <= order - 2:
            return ec.derive_private_key(candidate + 1, ec.SECP256R1())
    raise Fault("no key")


with open(sys.argv[1], encoding="utf-8") as file:
    job = json.load(file)
print(json.dumps([Verdict(job, Request(told)).reach() for told in job["requests"]]))
