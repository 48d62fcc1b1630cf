"""boto3 with dummy keys and keybearer as its endpoint: what an application would write.

Its argument is JSON: `task`, `url` and what the task needs.
"""

import hashlib
import io
import json
import os
import re
import sys
import urllib.error
import urllib.request

# Nothing of whoever runs the tests: no profile, no bundle of certificates, no endpoint.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)

import boto3  # noqa: E402
from boto3.s3.transfer import TransferConfig  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

job = json.loads(sys.argv[1])
MIB = 1 << 20
ODD = [
    "plain.txt",
    "with space",
    " leading and trailing ",
    "plus+sign",
    "percent%sign",
    "percent%20escaped",
    "colon:and=equals",
    "tilde~at@dollar$",
    "quotes'\"and(parens)!*",
    "semi;comma,amp&hash#question?",
    "brackets[]{}^`|<>",
    "ä/日本/🗝",
    "e\u0301 decomposed",
    "folder/trailing/",
    "double//slash",
    "//leading",
    "dots.../in..names/.hidden",
    "trailing.dot.",
    "x" * 1000,
]


def client(service, url=None, **config):
    """A client for the service, at this URL or wherever the environment says."""
    keys = {"aws_access_key_id": "AKIADUMMY", "aws_secret_access_key": "dummy"}
    config = Config(retries={"total_max_attempts": 1}, proxies={}, **config)
    return boto3.client(service, endpoint_url=url, region_name=job["region"], config=config, **keys)


def content(key):
    return f"content of {key}".encode()


def error(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError(f"{call} {arguments} passed")


def objects():
    """Keys of every kind, in an empty bucket of a server that keeps them exactly."""
    s3 = client("s3", job["url"])
    bucket = job["bucket"]
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": job["region"]})
    assert bucket in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    for key in ODD:
        s3.put_object(Bucket=bucket, Key=key, Body=content(key), Metadata={"kept": "yes"}, ContentType="text/odd")
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (head["Metadata"], head["ContentType"]) == ({"kept": "yes"}, "text/odd"), head
        got = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert got == content(key), (key, got)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    pages = list(pages)
    assert len(pages) == (len(ODD) + 2) // 3 and all(page["KeyCount"] <= 3 for page in pages)
    listed = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert sorted(listed) == sorted(ODD), listed
    for prefix in ["percent%", "plus+", "ä/", "with ", "//"]:
        answer = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        wanted = sorted(key for key in ODD if key.startswith(prefix))
        assert [entry["Key"] for entry in answer["Contents"]] == wanted, (prefix, answer)
    answer = s3.list_objects_v2(Bucket=bucket, Prefix="ä/", Delimiter="/")
    assert [prefix["Prefix"] for prefix in answer["CommonPrefixes"]] == ["ä/日本/"], answer
    s3.copy_object(Bucket=bucket, Key="copy of ä", CopySource={"Bucket": bucket, "Key": "ä/日本/🗝"})
    assert s3.get_object(Bucket=bucket, Key="copy of ä")["Body"].read() == content("ä/日本/🗝")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ODD[2:]]})
    assert len(deleted["Deleted"]) == len(ODD) - 2 and "Errors" not in deleted, deleted
    s3.delete_object(Bucket=bucket, Key=ODD[1])
    assert error(s3.get_object, Bucket=bucket, Key=ODD[1]) == "NoSuchKey"
    assert error(s3.get_object, Bucket="no-such-bucket-here", Key="x") == "NoSuchBucket"


def transfers():
    """Content of every size and framing, in a bucket that exists."""
    s3 = client("s3", job["url"])
    bucket = job["bucket"]
    block = bytes(range(256)) * 4096
    for algorithm in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", None]:
        options = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        try:
            s3.put_object(Bucket=bucket, Key="checked", Body=block, **options)
        except Exception as error:
            # Some are computed only by a library that boto3 does not bring along.
            assert "MissingDependency" in type(error).__name__, error
            continue
        got = s3.get_object(Bucket=bucket, Key="checked", ChecksumMode="ENABLED")["Body"].read()
        assert got == block, algorithm
    got = s3.get_object(Bucket=bucket, Key="checked", Range="bytes=300-599")
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (206, block[300:600])
    got = s3.get_object(Bucket=bucket, Key="checked", Range="bytes=-10")
    assert got["Body"].read() == block[-10:]
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert s3.get_object(Bucket=bucket, Key="empty")["Body"].read() == b""
    big = block * 12
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(big), bucket, "in parts", Config=parts)
    into = io.BytesIO()
    s3.download_fileobj(bucket, "in parts", into, Config=parts)
    assert hashlib.sha256(into.getvalue()).digest() == hashlib.sha256(big).digest()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="given up")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="given up", UploadId=upload, PartNumber=1, Body=block)
    s3.abort_multipart_upload(Bucket=bucket, Key="given up", UploadId=upload)
    s3.delete_object(Bucket=bucket, Key="in parts")


def pages():
    """More keys than a page has, in a bucket that has them already."""
    s3 = client("s3", job["url"])
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=job["bucket"]))
    counts = [page["KeyCount"] for page in pages]
    assert counts == [1000, job["keys"] - 1000], counts
    keys = {entry["Key"] for page in pages for entry in page["Contents"]}
    assert len(keys) == job["keys"], len(keys)


def presigned():
    """URLs that were signed with dummy keys, and that anybody can open who has them."""
    bucket = job["bucket"]
    client("s3", job["url"]).put_object(Bucket=bucket, Key="a key", Body=b"shared")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for version in [None, "s3v4"]:
        options = {"signature_version": version} if version else {}
        s3 = client("s3", job["url"], **options)
        for method in ["get_object", "put_object"]:
            parameters = {"Bucket": bucket, "Key": "a key"}
            url = s3.generate_presigned_url(method, parameters, ExpiresIn=60)
            assert "ignature=" in url, url
            content = b"shared" if method == "put_object" else None
            request = urllib.request.Request(url, data=content, method=method[:3].upper())
            if content:
                # As urllib would call it a form.
                request.add_header("Content-Type", "")
            with opener.open(request) as answer:
                assert answer.read() == (b"" if content else b"shared"), (version, method)
            # Nobody looks at the signature, nor at its time, and nothing of them arrives.
            url = re.sub(r"((?:X-Amz-)?Signature)=[^&]*", r"\1=wrong", url)
            url = re.sub(r"X-Amz-Date=[^&]*", "X-Amz-Date=20150830T123600Z", url)
            url = re.sub(r"([?&]Expires)=[^&]*", r"\1=1", url)
            assert "=wrong" in url and ("20150830" in url or "Expires=1" in url), url
            request.full_url = url
            with opener.open(request) as answer:
                assert answer.read() == (b"" if content else b"shared"), (version, method, "expired")
        url = s3.generate_presigned_url("head_object", {"Bucket": bucket, "Key": "a key"}, ExpiresIn=60)
        with opener.open(urllib.request.Request(url, method="HEAD")) as answer:
            assert answer.headers["Content-Length"] == "6", answer.headers
        upload = s3.create_multipart_upload(Bucket=bucket, Key="in parts")["UploadId"]
        part = {"Bucket": bucket, "Key": "in parts", "UploadId": upload, "PartNumber": 1}
        url = s3.generate_presigned_url("upload_part", part, ExpiresIn=60)
        request = urllib.request.Request(url, data=b"a part", method="PUT", headers={"Content-Type": ""})
        with opener.open(request) as answer:
            tag = answer.headers["ETag"]
        parts = {"Parts": [{"ETag": tag, "PartNumber": 1}]}
        s3.complete_multipart_upload(Bucket=bucket, Key="in parts", UploadId=upload, MultipartUpload=parts)
        assert s3.get_object(Bucket=bucket, Key="in parts")["Body"].read() == b"a part"


def services():
    """DynamoDB, SQS and STS, each under a prefix of its own that the environment tells."""
    name = job["name"]
    for service in ["dynamodb", "sqs", "sts"]:
        os.environ[f"AWS_ENDPOINT_URL_{service.upper()}"] = f"{job['url']}/{service}"
    dynamodb = client("dynamodb")
    schema = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    attributes = [{"AttributeName": "id", "AttributeType": "S"}]
    dynamodb.create_table(TableName=name, AttributeDefinitions=attributes, **schema)
    item = {"id": {"S": "ä 1"}, "value": {"N": "7"}}
    dynamodb.put_item(TableName=name, Item=item)
    assert dynamodb.get_item(TableName=name, Key={"id": item["id"]})["Item"] == item
    assert dynamodb.scan(TableName=name)["Count"] == 1
    sqs = client("sqs")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    body = "ä message & <more>" * 100
    sqs.send_message(QueueUrl=queue, MessageBody=body)
    message = sqs.receive_message(QueueUrl=queue)["Messages"][0]
    assert message["Body"] == body
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    who = client("sts").get_caller_identity()
    assert who["Arn"].endswith(":user/app"), who


{task.__name__: task for task in [objects, transfers, pages, presigned, services]}[job["task"]]()
