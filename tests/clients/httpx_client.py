"""httpx against keybearer: what an application would write, with its answers checked."""

import sys

import httpx

url = sys.argv[1]
with httpx.Client(timeout=30, trust_env=False, auth=("mine", "mine")) as client:
    answer = client.get(f"{url}/get", params={"q": "a b&c", "e": ""})
    assert (answer.status_code, answer.text) == (200, "ok"), answer

    answer = client.post(f"{url}/json", json={"a": "é"})
    assert answer.status_code == 200, answer

    answer = client.post(f"{url}/form", data={"a": "1", "b": "ä x"})
    assert answer.status_code == 200, answer

    def chunks():
        for _ in range(100):
            yield b"x" * 10_000

    answer = client.post(f"{url}/stream", content=chunks())
    assert answer.status_code == 200, answer

    with client.stream("GET", f"{url}/big") as answer:
        length = sum(len(block) for block in answer.iter_bytes())
    assert length == 3_000_000, length

    answer = client.get(f"{url}/missing")
    assert (answer.status_code, answer.text) == (404, "gone"), answer
    assert "proxy-status" not in answer.headers, answer.headers

    answer = client.post(f"{url}/redirect", content=b"again", follow_redirects=True)
    assert answer.status_code == 200, answer
    assert str(answer.url) == f"{url}/get?a=1", answer.url

    answer = client.get(f"{url}/no%2Fsuch/%2e%2e/x")
    assert answer.status_code == 400, answer
    assert answer.headers["content-type"] == "application/problem+json", answer.headers
    assert answer.headers["proxy-status"].startswith("keybearer; error="), answer.headers
    assert answer.json()["detail"], answer.text
