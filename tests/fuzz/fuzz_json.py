"""As fuzz_sign.py, of JSON: every input is an assertion that the compiled twin reads it as the Python one does.

An input is the text itself, which is read as an answer and as a line, as bytes and as the str that it would be.
"""

from fuzzing import main, outcome, text_of
from opensearch_sigv4.core import _cython, _python


def check(data):
    text = text_of(data)
    for name, argument in (("scan_bulk_answer", data), ("scan_bulk_answer", text), ("check_json_object", data)):
        result = outcome(getattr(_cython, name), argument)
        expected = outcome(getattr(_python, name), argument)
        assert result == expected, (name, argument, result, expected)


def seeds():
    succeeded = b'{"index":{"_id":"1","_shards":{"total":2,"failed":0},"status":201}}'
    failed = b'{"create":{"status":409,"error":{"type":"a","reason":"[\\"b\\"]: \\u00e9"}}}'
    yield b'{"took":30,"errors":true,"items":[' + succeeded + b"," + failed + b"]}"
    yield b'{\n  "items" : [\n    { "delete" : { "status" : 404 } }\n  ],\n  "errors" : true\n}\n'
    yield b'{"\\u0069tems":[{"a":{"st\\u0061tus":200}},{"\\ud83d\\ude42":{}}],"items":null}'
    yield '{"ü":["日本",-1.5e+3,0.0,-0,1E5,true,false,null,[],{},[[{"":[]}]]]}'.encode()
    yield b'{"a":' + b"[" * 1000


if __name__ == "__main__":
    main(check, seeds)
