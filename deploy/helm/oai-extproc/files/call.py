"""List the models through the Service; without a token, expect the worker to ask for one.

A gateway with TLS has to show the very certificate of its Secret; its name is that of callers, not of the Service.
"""

import http.client
import json
import os
import ssl
import sys
from pathlib import Path

token = os.environ.get("TOKEN")
certificate = Path("/etc/oai/callers/tls.crt")
if certificate.exists():
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    connection = http.client.HTTPSConnection(os.environ["GATEWAY"], timeout=60, context=context)
else:
    connection = http.client.HTTPConnection(os.environ["GATEWAY"], timeout=60)
connection.request("GET", "/oai/v1/models", headers={"Authorization": f"Bearer {token}"} if token else {})
response = connection.getresponse()
content = response.read()
print(response.status, content.decode(errors="replace")[:1000])
if token:
    sys.exit(response.status != 200 or not json.loads(content)["data"])
sys.exit(response.status != 401 or json.loads(content)["error"]["code"] != "invalid_api_key")
