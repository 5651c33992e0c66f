"""What AWS's own code, botocore, says: where Bedrock is, who we are, which models there are.

botocore and its descriptions of AWS are 33 MB and a sixth of a second. So no worker imports this room: it has a
process look, which ends once it has answered (`extproc.aws.lookup`). Commands, which end as well, just import it.
"""
