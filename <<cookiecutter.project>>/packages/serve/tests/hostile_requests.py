"""Requests that a service meets sooner or later, each with a name that says what is wrong with it.

`JSON` are bodies for the routes that take work; `RAW` are bytes for the port itself.
"""

import json
from typing import Any

ROW: dict[str, Any] = {"size": 3.5, "count": 2, "marked": True, "kind": "a", "city": "Rome"}


def _body(**changed: Any) -> bytes:
    return json.dumps({"rows": [{**ROW, **changed}]}).encode()


def _text(value: str, field: str = "size") -> bytes:
    """A body with raw text where a value of `field` stands."""
    marker = json.dumps({"rows": [{**ROW, field: "@@"}]})
    return marker.replace('"@@"', value).encode("utf-8", "surrogatepass")


NUMBERS = [
    *("NaN", "-NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1e308", "-1e308", "1e309", "0x10", "01"),
    *("+1", "1.", ".5", "1e", "1e+", "--1", "1_000", "1,5", "١", "1" + "0" * 400, "1" + "0" * 5000, "9" * 100_000),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1.0000000000000000000000001"),
    *("true", "false", "null", "undefined", "None", '"3"', '"NaN"', "[]", "[1]", "{}", '{"a":1}', '""', "'3'"),
    *("1/0", "1e1000000000", "-0", "-0.0", "2.2250738585072011e-308", "4.9e-324", "1" * 310 + ".0", "0." + "0" * 9999),
]
TEXTS = [
    *('"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d"', '"\\u0000"', '"a\\u0000"', '"\\x41"', '"\\"', '"', '"a\nb"'),
    *('"\t"', '"\u2028"', '"\ufeff"', '"\\u202e"', '"' + "a" * 100_000 + '"', '"😀"', '"A"', '"a "', '"á"'),
    *("5", "true", "[]", "{}", '["a"]', '"__proto__"', '"\'; DROP TABLE x; --"', '"{{7*7}}"', '"${jndi:ldap://x}"'),
    *('"<script>alert(1)</script>"', '"../../etc/passwd"', '"%s%n"', '"\\u0061"', '"a\\/b"', '"\\b\\f"', "'a'", "a"),
]
SHAPES: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a null": b"null",
    "a number": b"1",
    "a text": b'"rows"',
    "a list": b"[]",
    "a list of rows": json.dumps([ROW]).encode(),
    "an empty object": b"{}",
    "a row alone": json.dumps(ROW).encode(),
    "no rows": b'{"rows": []}',
    "rows null": b'{"rows": null}',
    "rows an object": json.dumps({"rows": ROW}).encode(),
    "rows a text": b'{"rows": "all"}',
    "rows a number": b'{"rows": 1e9}',
    "rows of null": b'{"rows": [null]}',
    "rows of lists": b'{"rows": [[1, 2, true, "a"]]}',
    "rows of texts": b'{"rows": ["a"]}',
    "an empty row": b'{"rows": [{}]}',
    "a row and a null": json.dumps({"rows": [ROW, None]}).encode(),
    "one bad row of many": json.dumps({"rows": [ROW] * 500 + [{**ROW, "count": "x"}]}).encode(),
    "too many rows": json.dumps({"rows": [ROW] * 1001}).encode(),
    "far too many rows": b'{"rows": [' + b"1," * 200_000 + b"1]}",
    "rows twice": b'{"rows": [], "rows": 5}',
    "another key": json.dumps({"rows": [ROW], "more": 1}).encode(),
    "pandas split": json.dumps({"dataframe_split": {"columns": ["size"], "data": [[1]]}}).encode(),
    "an unknown field": _body(colour="red"),
    "a dunder field": _body(__class__="os.system"),
    "a long field name": _body(**{"x" * 100_000: 1}),
    "a field named like a path": _body(**{"../size": 1}),
    "many unknown fields": json.dumps({"rows": [{f"f{n}": n for n in range(20_000)}]}).encode(),
    "the target given": _body(outcome=1),
    "a field twice": b'{"rows": [{"size": 1, "size": "x", "count": 1, "marked": true, "kind": "a"}]}',
    "a field in capitals": _body(SIZE=1),
    "a missing field": json.dumps({"rows": [{"size": 1}]}).encode(),
    "a count with a fraction": _body(count=2.5),
    "a count as a float": _text("2.0", "count"),
    "a count too large": _body(count=100),
    "a count beyond 64 bits": _body(count=2**64),
    "a negative count": _body(count=-1),
    "a count that is a truth": _body(count=True),
    "a mark that is a number": _body(marked=1),
    "a mark that is a text": _body(marked="true"),
    "a mark that is null": _body(marked=None),
    "a city in small letters": _body(city="rome"),
    "a city that is null": _body(city=None),
    "a size out of range": _body(size=1000.1),
    "a truncated body": _body()[:-3],
    "trailing text": _body() + b"x",
    "two values": _body() + _body(),
    "a trailing comma": b'{"rows": [{"size": 1,}]}',
    "a comment": b'{"rows": [] /* none */}',
    "single quotes": b"{'rows': []}",
    "a byte-order mark": b"\xef\xbb\xbf" + _body(),
    "UTF-16": _body().decode().encode("utf-16"),
    "UTF-32": _body().decode().encode("utf-32"),
    "Latin-1": _body(kind="ü").decode("unicode_escape").encode("latin-1"),
    "bytes that are no UTF-8": b'{"rows": [{"kind": "\xff\xfe"}]}',
    "an overlong encoding": b'{"rows": [{"kind": "\xc0\xaf"}]}',
    "a null byte": b"\x00",
    "null bytes": b"\x00" * 10_000,
    "a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
    "a zip": b"PK\x03\x04" + b"\x00" * 100,
    "gzip": bytes.fromhex("1f8b0800000000000003abae0500430b6c8f02000000"),
    "XML": b"<rows><row size='1'/></rows>",
    "an entity bomb": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
    "YAML": b"rows:\n  - size: 1\n",
    "CSV": b"size,count\n1,2\n",
    "a form": b"size=1&count=2",
    "deep lists": b"[" * 100_000,
    "deep lists that close": b"[" * 5000 + b"]" * 5000,
    "deep objects": b'{"rows":' * 20_000,
    "deep objects in a field": b'{"rows": [{"size": ' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"}]}",
    "deep lists in a field": b'{"rows": [{"size": ' + b"[" * 150 + b"]" * 150 + b"}]}",
    "many keys that collide": json.dumps({f"rows{n}": n for n in range(30_000)}).encode(),
    "blanks": b" " * 500_000,
    "a body that is too large": b'{"rows": "' + b"a" * 2_000_000 + b'"}',
    "a long text where rows belong": b'{"rows": "' + b"a" * 900_000 + b'"}',
    "a number of a million digits": b'{"rows": ' + b"1" * 1_000_000 + b"}",
}
# Texts that stand where the id of a row belongs.
IDS = [
    *("NaN", "-Infinity", "1e400", "1.0", "true", "null", "[]", '[["a"]]', "{}", '""', '"\\ud800"', '"a", "a"', ""),
    *(str(2**63), "1" + "0" * 5000, "[" * 5000, '"' + "a" * 201 + '"', '"' + "a" * 900_000 + '"', "1," * 200_000 + "1"),
]
JSON: dict[str, bytes] = {
    **SHAPES,
    **{f"ids are {text[:30]}": _body()[:-1] + b', "ids": [' + text.encode() + b"]}" for text in IDS},
    "ids null": _body()[:-1] + b', "ids": null}',
    "ids a text": _body()[:-1] + b', "ids": "a"}',
    "ids an object": _body()[:-1] + b', "ids": {"0": "a"}}',
    "ids twice": _body()[:-1] + b', "ids": ["a"], "ids": [[]]}',
    "ids and no rows": b'{"ids": ["a"]}',
    "ids in a row": _body(ids=["a"]),
    **{f"size is {text[:30]}": _text(text) for text in NUMBERS},
    **{f"count is {text[:30]}": _text(text, "count") for text in NUMBERS[:12] + NUMBERS[24:]},
    **{f"kind is {text[:30]}": _text(text, "kind") for text in TEXTS},
}

GOOD = _body()


def _head(line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [line, "Host: x", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _post(*headers: str, body: bytes = GOOD, path: str = "/predict") -> bytes:
    return _head(f"POST {path} HTTP/1.1", *headers, body=body)


TYPE = "Content-Type: application/json"
RAW: dict[str, bytes] = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\x00" * 100,
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
    "an unknown method": _head("FROB /predict HTTP/1.1"),
    "a method in small letters": _head("post /predict HTTP/1.1"),
    "a long method": b"A" * 10_000 + b" / HTTP/1.1\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\n\r\n",
    "a relative path": _head("GET predict HTTP/1.1"),
    "an absolute address": _head("GET http://evil.example/predict HTTP/1.1"),
    "a path up": _head("GET /../../etc/passwd HTTP/1.1"),
    "an encoded path up": _head("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1"),
    "an encoded null": _head("GET /predict%00 HTTP/1.1"),
    "a path that is no UTF-8": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "an encoded path that is no UTF-8": _head("GET /%ff%fe HTTP/1.1"),
    "a long path": _head("GET /" + "a" * 50_000 + " HTTP/1.1"),
    "a long query": _head("GET /predict?" + "a=1&" * 10_000 + " HTTP/1.1"),
    "a slash too many": _head("POST //predict HTTP/1.1"),
    "a slash at the end": _post(TYPE, f"Content-Length: {len(GOOD)}", path="/predict/"),
    "GET where POST belongs": _head("GET /predict HTTP/1.1"),
    "DELETE": _head("DELETE /predict HTTP/1.1"),
    "PUT": _head("PUT /predict HTTP/1.1", "Content-Length: 0"),
    "OPTIONS": _head("OPTIONS /predict HTTP/1.1"),
    "OPTIONS *": _head("OPTIONS * HTTP/1.1"),
    "TRACE": _head("TRACE / HTTP/1.1", "Secret: abc"),
    "CONNECT": _head("CONNECT evil.example:443 HTTP/1.1"),
    "HEAD": _head("HEAD /v2/health/live HTTP/1.1"),
    "a websocket": _head("GET /predict HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"),
    "an h2c upgrade": _head("GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    "no type": _post(f"Content-Length: {len(GOOD)}"),
    "a form type": _post("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(GOOD)}"),
    "a multipart type": _post("Content-Type: multipart/form-data", f"Content-Length: {len(GOOD)}"),
    "a pickle type": _post("Content-Type: application/python-pickle", f"Content-Length: {len(GOOD)}"),
    "a text type": _post("Content-Type: text/plain", f"Content-Length: {len(GOOD)}"),
    "a long type": _post("Content-Type: " + "a" * 20_000, f"Content-Length: {len(GOOD)}"),
    "a gzip encoding": _post(TYPE, "Content-Encoding: gzip", f"Content-Length: {len(GOOD)}"),
    "an unknown encoding": _post(TYPE, "Content-Encoding: x", f"Content-Length: {len(GOOD)}"),
    "a length that is no number": _post(TYPE, "Content-Length: abc"),
    "a negative length": _post(TYPE, "Content-Length: -1"),
    "a length with a sign": _post(TYPE, f"Content-Length: +{len(GOOD)}"),
    "a huge length": _post(TYPE, "Content-Length: 99999999999999999999999999"),
    "a large length": _post(TYPE, "Content-Length: 1000000000000"),
    "a length that is too small": _post(TYPE, "Content-Length: 5"),
    "two lengths": _post(TYPE, "Content-Length: 5", f"Content-Length: {len(GOOD)}"),
    "length and chunks": _post(
        TYPE, f"Content-Length: {len(GOOD)}", "Transfer-Encoding: chunked", body=b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
    ),
    "a broken chunk": _post(TYPE, "Transfer-Encoding: chunked", body=b"ZZ\r\nabc\r\n"),
    "a huge chunk": _post(TYPE, "Transfer-Encoding: chunked", body=b"FFFFFFFFFFFFFFFFFFFF\r\nabc\r\n"),
    "a chunk with a long extension": _post(
        TYPE, "Transfer-Encoding: chunked", body=b"1;" + b"a" * 50_000 + b"\r\nx\r\n0\r\n\r\n"
    ),
    "chunks beyond the limit": _post(
        TYPE, "Transfer-Encoding: chunked", body=(b"10000\r\n" + b"a" * 65536 + b"\r\n") * 20 + b"0\r\n\r\n"
    ),
    "an unknown transfer encoding": _post(TYPE, "Transfer-Encoding: gzip"),
    "a transfer encoding twice": _post(TYPE, "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "a header without a colon": _head("GET / HTTP/1.1", "nonsense"),
    "a header without a name": _head("GET / HTTP/1.1", ": x"),
    "a header with a null": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a bare line feed": b"GET /v2/health/live HTTP/1.1\nHost: x\n\n",
    "many headers": _head("GET / HTTP/1.1", *(f"H{n}: {n}" for n in range(5000))),
    "a long header": _head("GET / HTTP/1.1", "A: " + "b" * 200_000),
    "no host": b"GET /v2/health/live HTTP/1.1\r\n\r\n",
    "two hosts": _head("GET /v2/health/live HTTP/1.1", "Host: y"),
    "an evil host": b"GET /v2/health/live HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a wish for 100-continue": _post(TYPE, "Expect: 100-continue", f"Content-Length: {len(GOOD)}"),
    "an unknown wish": _post(TYPE, "Expect: the-unexpected", f"Content-Length: {len(GOOD)}"),
    "a token nobody asked for": _post(TYPE, "Authorization: Bearer x", f"Content-Length: {len(GOOD)}"),
    "a spoofed client": _post(TYPE, "X-Forwarded-For: 127.0.0.1", f"Content-Length: {len(GOOD)}"),
    "an overriding method": _post(TYPE, "X-HTTP-Method-Override: DELETE", f"Content-Length: {len(GOOD)}"),
    "ranges": _head("GET /v2/health/live HTTP/1.1", "Range: bytes=" + ",".join("0-" for _ in range(500))),
    "pipelined requests": _head("GET /v2/health/live HTTP/1.1") * 200,
    "half a request": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le",
    "half a body": _post(TYPE, f"Content-Length: {len(GOOD)}", body=GOOD[:20]),
    "another model": _post(TYPE, f"Content-Length: {len(GOOD)}", path="/v2/models/other/infer"),
    "another version": _post(TYPE, f"Content-Length: {len(GOOD)}", path="/v2/models/toy/versions/000000000000/infer"),
    "a model up": _post(TYPE, f"Content-Length: {len(GOOD)}", path="/v2/models/..%2f..%2fetc/infer"),
}


def _tensor(**changed: Any) -> bytes:
    values = {"size": 3.5, "count": 2, "marked": True, "kind": "a"}
    kinds = {"size": "FP64", "count": "INT64", "marked": "BOOL", "kind": "BYTES"}
    inputs = [{"name": name, "shape": [1], "datatype": kinds[name], "data": [value]} for name, value in values.items()]
    inputs[0].update(changed)
    return json.dumps({"inputs": inputs}).encode()


TENSORS: dict[str, bytes] = {
    "inputs null": b'{"inputs": null}',
    "no inputs": b'{"inputs": []}',
    "inputs of numbers": b'{"inputs": [1]}',
    "an empty input": b'{"inputs": [{}]}',
    "a shape of nothing": _tensor(shape=[]),
    "a shape of zero": _tensor(shape=[0], data=[]),
    "a negative shape": _tensor(shape=[-1]),
    "a huge shape": _tensor(shape=[2**40]),
    "a shape of three": _tensor(shape=[1, 1, 1]),
    "a shape with a fraction": _tensor(shape=[1.5]),
    "a shape that lies": _tensor(shape=[2]),
    "a shape beyond the limit": _tensor(shape=[1001], data=[1.0] * 1001),
    "a shape and no data": _tensor(data=[]),
    "data null": _tensor(data=None),
    "data a text": _tensor(data="AAAA"),
    "data an object": _tensor(data={}),
    "data of objects": _tensor(data=[{}]),
    "data of deep lists": _tensor(data=[[[[1.0]]]]),
    "data of NaN": _tensor().replace(b"3.5", b"NaN"),
    "data of 1e400": _tensor().replace(b"3.5", b"1e400"),
    "ragged data": _tensor(shape=[2], data=[[1.0], [1.0, 2.0]]),
    "an unknown name": _tensor(name="colour"),
    "a name twice": _tensor(name="count"),
    "a long name": _tensor(name="x" * 10_000),
    "an unknown datatype": _tensor(datatype="FP8"),
    "another datatype": _tensor(datatype="BYTES"),
    "a datatype of another kind": _tensor(datatype=64),
    "an unknown key": _tensor(colour="red"),
    "parameters a list": _tensor(parameters=[]),
    "binary data": _tensor(parameters={"binary_data_size": 8}, data=[]),
    "an id that is a number": _tensor()[:-1] + b', "id": 5}',
    "a long id": _tensor()[:-1] + b', "id": "' + b"x" * 10_000 + b'"}',
    "an id of a row too many": _tensor()[:-1] + b', "parameters": {"ids": ["a", "b"]}}',
    "ids null": _tensor()[:-1] + b', "parameters": {"ids": null}}',
    "ids a text": _tensor()[:-1] + b', "parameters": {"ids": "a"}}',
    "ids of lists": _tensor()[:-1] + b', "parameters": {"ids": [[1]]}}',
    "ids of numbers with a fraction": _tensor()[:-1] + b', "parameters": {"ids": [1.5]}}',
    "an unknown output": _tensor()[:-1] + b', "outputs": [{"name": "colour"}]}',
    "outputs null": _tensor()[:-1] + b', "outputs": null}',
}
