"""A local Bedrock: AWS's wire, AWS's rules, no model behind it.

`python -m bedrock_local` serves Converse, ConverseStream, InvokeModel for the embedding models, and the lists of models
and inference profiles. A request passes these rooms, each of which may refuse it as AWS would:

    app         which operation                       signature   who calls, and has anything leaked
    shapes      botocore's service model              models      does the model exist, and may it be called so
    families    what such models take                 rules       what AWS refuses beyond the service model
    controls    what the text orders for a test       completions what to say (words, synthesis, tokens)
    reasoning   what is thought before that           seals       that thoughts come back as they went
    frames      how all that looks on the wire        stream      sending it, a frame at a time
    delivery    sending it whole                      calls       what came, and what became of it

It knows nothing of the gateway in front of it, and the gateway nothing of it.
"""
