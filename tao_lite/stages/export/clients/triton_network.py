"""The model of a Triton server that takes a picture's file; the server is at TRITON_URL."""

import json
import os
import struct
import urllib.error
import urllib.request


class Network:
    """The bytes of a file to the model's outputs by name. Source: KServe's protocol of inference, version 2."""

    def __init__(self, folder):
        (model,) = (path.name for path in (folder / "models").glob("*_picture"))
        server = os.environ.get("TRITON_URL", "http://localhost:8000").rstrip("/")
        self._url = f"{server}/v2/models/{model}/infer"

    def __call__(self, content):
        length = {"binary_data_size": 4 + len(content)}
        picture = {"name": "picture", "datatype": "BYTES", "shape": [1], "parameters": length}
        header = json.dumps({"inputs": [picture]}).encode()
        body = header + struct.pack("<I", len(content)) + content
        request = urllib.request.Request(self._url, body, {"Inference-Header-Content-Length": str(len(header))})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return {output["name"]: output["data"] for output in json.load(answer)["outputs"]}
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", error.reason)) from error
