"""A local Bedrock: AWS's wire, AWS's rules, no model behind it.

`python -m bedrock_local` serves Converse, ConverseStream, InvokeModel for the embedding models, and the lists of models
and inference profiles. A request passes these modules, each of which may reject it as AWS would:

    app         the operation                         signature   authentication, and leaked headers
    shapes      botocore's service model              models      foundation models and inference profiles
    families    features of a family of models        rules       what AWS rejects beyond the service model
    controls    a test's directives in the text       completions the content (words, synthesis, tokens)
    reasoning   reasoning blocks                      seals       signatures of reasoning blocks
    frames      the response on the wire              stream      sending it frame by frame
    delivery    sending it in one piece               calls       the log of calls

It shares no code with the gateway in front of it.
"""
