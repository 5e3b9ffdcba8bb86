"""S3 and Secrets Manager in one region."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from ops.deploy.aws_client import Client
from ops.deploy.facts import Conflict, Secret, Stored

_NOTHING = ("404", "NoSuchKey", "NotFound")


class AwsObjects:
    """See the port."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def sha256(self, bucket: str, key: str) -> str | None:
        head = self._client.found(
            _NOTHING, "head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED"
        )
        digest = head.get("ChecksumSHA256") if head else None
        return base64.b64decode(digest).hex() if digest else None

    def put_file(self, bucket: str, key: str, source: Path | bytes, sha256: str) -> None:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as body:
            self._client.call(
                "put_object",
                Bucket=bucket,
                Key=key,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
            )

    def read(self, bucket: str, key: str) -> Stored | None:
        answer = self._client.found(_NOTHING, "get_object", Bucket=bucket, Key=key)
        if answer is None:
            return None
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        age_s = (now - answer["LastModified"]).total_seconds()
        return Stored(answer["Body"].read(), answer["ETag"], age_s)

    def write_if(self, bucket: str, key: str, body: bytes, etag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        answer = self._client.call("put_object", Bucket=bucket, Key=key, Body=body, **condition)
        return str(answer["ETag"])

    def remove_if(self, bucket: str, key: str, etag: str) -> None:
        asked = {"Bucket": bucket, "Key": key, "IfMatch": etag}
        if self._client.found(_NOTHING, "delete_object", **asked) is None:
            raise Conflict("NoSuchKey", f"s3://{bucket}/{key}: was not there")


class AwsSecrets:
    """See the port."""

    def __init__(self, client: Client, region: str) -> None:
        self._client = client
        self._region = region

    def current(self, name: str) -> Secret | None:
        answer = self._client.found(
            ("ResourceNotFoundException",), "get_secret_value", SecretId=name
        )
        return Secret(answer.get("SecretString", ""), answer["VersionId"]) if answer else None

    def create(self, name: str, value: str, description: str) -> None:
        self._client.call("create_secret", Name=name, SecretString=value, Description=description)

    def replicas(self, name: str) -> Sequence[str]:
        answer = self._client.call("describe_secret", SecretId=name)
        return [one["Region"] for one in answer.get("ReplicationStatus", ())]

    def replicate(self, name: str, regions: Sequence[str]) -> None:
        self._client.call(
            "replicate_secret_to_regions",
            SecretId=name,
            AddReplicaRegions=[{"Region": region} for region in regions],
        )

    def delete(self, name: str) -> None:
        gone = ("ResourceNotFoundException",)
        facts = self._client.found(gone, "describe_secret", SecretId=name)
        if facts is None or facts.get("PrimaryRegion", self._region) != self._region:
            return
        replicas = list(self.replicas(name))
        if replicas:
            self._client.call(
                "remove_regions_from_replication", SecretId=name, RemoveReplicaRegions=replicas
            )
        self._client.call("delete_secret", SecretId=name, ForceDeleteWithoutRecovery=True)
