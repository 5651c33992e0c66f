import http.client, json, time
from urllib.parse import urlsplit
def test_probe(gateway, token, client):
    net = urlsplit(gateway.url).netloc
    def send(method, path, body=None, headers=None, enc=False):
        c = http.client.HTTPConnection(net, timeout=15)
        t=time.time()
        try:
            c.request(method, path, body=body, headers={"authorization": f"Bearer {token}", "content-type":"application/json", **(headers or {})}, encode_chunked=enc)
            r = c.getresponse(); b = r.read()
            return r.status, dict(r.getheaders()), b, time.time()-t
        except Exception as e:
            return None, {}, repr(e).encode(), time.time()-t
    C="/oai/v1/chat/completions"; M="anthropic.claude-sonnet-4-6"; N="amazon.nova-micro-v1:0"
    def chat(**kw): return json.dumps({"model":M,"messages":[{"role":"user","content":"hi"}],**kw}).encode()
    def show(name, r):
        s,h,b,t=r
        print(">>", name, s, f"{t:.2f}", b[:230])
    show("temp+top_p", send("POST",C,chat(temperature=.5,top_p=.5)))
    show("prefill", send("POST",C,chat(messages=[{"role":"user","content":"a"},{"role":"assistant","content":"b "}])))
    show("only system", send("POST",C,chat(messages=[{"role":"system","content":"a"}])))
    show("empty content", send("POST",C,chat(messages=[{"role":"user","content":""}])))
    for m in ["a b/c?x#y","x\r\ny: z","../../../x","arn:aws:bedrock:us-east-1:1:prompt/ABC","\u0000","us.","..","amazon.nova-micro-v1:0 "]:
        show("model %r"%m[:30], send("POST",C,chat(model=m)))
        show("embed %r"%m[:30], send("POST","/oai/v1/embeddings",json.dumps({"model":m,"input":"x"}).encode()))
    show("surrogate", send("POST",C,b'{"model":"%s","messages":[{"role":"user","content":"\\ud800"}]}'%M.encode()))
    show("utf8 bom", send("POST",C,b'\xef\xbb\xbf'+chat()))
    show("bigint", send("POST",C,chat(max_tokens=10**30)))
    show("max_tokens 2**31", send("POST",C,chat(max_tokens=2**31)))
    show("max_tokens 1e5", send("POST",C,chat(max_tokens=10**5)))
    show("max_tokens 5.0", send("POST",C,chat(max_tokens=5.0)))
    show("seed", send("POST",C,chat(seed=2**70)))
    show("deep", send("POST",C,chat(tools=[{"type":"function","function":{"name":"a","parameters":{"type":"object"}}}]).replace(b'{"type": "object"}', b'{"a":'*3000+b'1'+b'}'*3000)))
    show("deep2", send("POST",C,b'['*100000))
    show("chunked", send("POST",C,iter([chat()[:10],chat()[10:]]),{"transfer-encoding":"chunked"},True))
    show("expect", send("POST",C,chat(),{"expect":"100-continue"}))
    for meth in ("HEAD","OPTIONS","TRACE","CONNECT","FOO"):
        show(meth, send(meth,C))
    show("GET body", send("GET","/oai/v1/models",b'{}'))
    for p in ("/","/oai/v1","/oai/v1/","/oai/v1//models","/oai/v1/models/","/oai/v1/models?x=1","/oai/v1/models/%","/oai/v1/models/%2F","/oai/v1/models/a%00b","/oai/v1/models/..","/oai/v1/models/%2e%2e","/oai/v1/../x","/oai/v1/models/x%0d%0ay","/healthz","/oai/v1/models/anthropic.claude-sonnet-4-6/","/oai/v1/models#x","/oai/v1/models/"+"a"*9000):
        show("GET "+p[:40], send("GET",p))
    for a in ("","Bearer ","bearer "+token,"Bearer "+"x"*7000,token,"Bearer\t"+token):
        show("auth %r"%a[:20], send("GET","/oai/v1/models",headers={"authorization":a}))
    show("big header", send("GET","/oai/v1/models",headers={"x-a":"a"*70000}))
    show("many headers", send("GET","/oai/v1/models",headers={f"x-{i}":"a" for i in range(150)}))
    for p in ("transfer-encoding","x-envoy-upstream-rq-timeout-ms","x-envoy-original-path","x-amz-security-token","host","connection","upgrade","te","x-envoy-retry-on","x-http-method-override"):
        show("header "+p, send("POST",C,chat(),{p:"1"} if p!="transfer-encoding" else {p:"gzip, chunked"}))
    emb=lambda **kw: json.dumps({"model":"amazon.titan-embed-text-v2:0",**kw}).encode()
    E="/oai/v1/embeddings"
    show("emb 2049", send("POST",E,emb(input=["x"]*2049)))
    show("emb 2048 cohere", send("POST",E,json.dumps({"model":"cohere.embed-english-v3","input":["x"]*2048}).encode()))
    show("emb 2048 titan", send("POST",E,emb(input=["x"]*2048, dimensions=256)))
    show("emb long", send("POST",E,emb(input="x "*60000)))
    show("emb blank", send("POST",E,emb(input=" ")))
    show("emb surrogate", send("POST",E,b'{"model":"amazon.titan-embed-text-v2:0","input":["\\ud800","x"]}'))
    show("schema false", send("POST",C,chat(response_format={"type":"json_schema","json_schema":{"name":"x","schema":False}})))
    show("schema none", send("POST",C,chat(response_format={"type":"json_schema","json_schema":{"name":"x"}})))
    show("stops ws", send("POST",C,chat(stop=["\n"])))
    show("stop 3000", send("POST",C,chat(stop=[str(i) for i in range(3000)])))
    show("name", send("POST",C,chat(messages=[{"role":"user","name":"x y","content":"x"}])))
    show("llama tools", send("POST",C,chat(model="meta.llama3-70b-instruct-v1:0",tools=[{"type":"function","function":{"name":"f"}}])))
    show("sonnet55 schema", send("POST",C,chat(model="anthropic.claude-sonnet-5-5",response_format={"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}})))
    show("emb via chat", send("POST",C,chat(model="amazon.titan-embed-text-v2:0")))
    show("image model", send("POST",C,chat(model="amazon.nova-canvas-v1:0")))
    for order in ("empty","texts=0","stop=malformed_tool_use","stop=model_context_window_exceeded","stop=tool_use","error=x after=0", "bogus=1"):
        for s in (False,True):
            r=send("POST",C,chat(stream=s,messages=[{"role":"user","content":f"hi [[local: {order}]]"}]))
            show(f"[[{order}]] {s}", (r[0],r[1],r[2][-230:],r[3]))
    assert 0
