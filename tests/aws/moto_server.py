"""AWS as moto plays it, with IAM enforced: two users, and a role that demands an external ID.

Prints one line of JSON once it answers, and ends when its standard input does, so that it never
outlives the tests that share it.
"""

import json
import logging
import os
import sys

# Nothing of whoever runs the tests.
for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
    del os.environ[name]
os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from moto import settings  # noqa: E402
from moto.core.authorization import ActionAuthenticatorMixin  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

REGION = "eu-west-1"
EXTERNAL_ID = "moto-external-id"
EVERYTHING = ["s3:*", "sqs:*", "dynamodb:*", "sts:AssumeRole"]

# A line per request says nothing that a test reads.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"


def client(service):
    keys = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup"}
    return boto3.client(service, region_name=REGION, endpoint_url=url, config=Config(proxies={}), **keys)


def policy(actions):
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


iam = client("iam")


def user(name, actions):
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    if actions:
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy(actions))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


arn, app = user("app", EVERYTHING)
_, powerless = user("powerless", [])
trust = {
    "Effect": "Allow",
    "Principal": {"AWS": arn},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
}
trust = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
iam.put_role_policy(RoleName="reader", PolicyName="all", PolicyDocument=policy(EVERYTHING))

# From here on every request has to be signed by someone who may.
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
ActionAuthenticatorMixin.request_count = 0

ready = {
    "url": url,
    "region": REGION,
    "app": app,
    "powerless": powerless,
    "role": role,
    "external_id": EXTERNAL_ID,
}
print(json.dumps(ready), flush=True)
sys.stdin.read()
