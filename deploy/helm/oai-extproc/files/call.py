"""List the models through the Service; without a token, expect the worker to ask for one."""

import http.client
import json
import os
import sys

token = os.environ.get("TOKEN")
connection = http.client.HTTPConnection(os.environ["GATEWAY"], timeout=60)
connection.request("GET", "/oai/v1/models", headers={"Authorization": f"Bearer {token}"} if token else {})
response = connection.getresponse()
content = response.read()
print(response.status, content.decode(errors="replace")[:1000])
if token:
    sys.exit(response.status != 200 or not json.loads(content)["data"])
sys.exit(response.status != 401 or json.loads(content)["error"]["code"] != "invalid_api_key")
