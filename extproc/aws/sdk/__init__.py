"""The lookups that need AWS's own code, botocore: endpoints, identity, models.

botocore and its descriptions of AWS take 33 MB and a sixth of a second. So no worker imports this package: it starts a
process for a lookup, which then ends (`extproc.aws.lookup`). Commands, which end as well, import it.
"""
