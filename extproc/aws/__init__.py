"""AWS's settings and lists: the credentials in use, the catalogue of models, and the process that asks botocore."""
