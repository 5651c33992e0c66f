"""Check the workers' certificate by their name and authority, as Envoys do."""

import os
import socket
import ssl

host = os.environ["WORKERS"]
context = ssl.create_default_context(cafile="/etc/oai/tls/ca.crt")
with (
    socket.create_connection((host, 9443), timeout=30) as connection,
    context.wrap_socket(connection, server_hostname=host) as tls,
):
    print(host, tls.getpeercert()["notAfter"])
