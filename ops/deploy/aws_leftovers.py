"""What outlives its stack in one region, found by the tags that the stack gave it."""

from __future__ import annotations

from collections.abc import Sequence

from ops.deploy.aws_client import Client
from ops.deploy.facts import CloudError, Leftover
from ops.deploy.names import STACK_TAG

_NO_BUCKET = ("NoSuchBucket",)
_AT_ONCE = 1000  # DeleteObjects takes no more
_KEY_DAYS = 7  # KMS takes no fewer
_KINDS = {
    "s3": "bucket",
    "ecr:repository": "repository",
    "rds:snapshot": "snapshot",
    "kms:key": "key",
}


class AwsLeftovers:
    """See the port."""

    def __init__(self, tagging: Client, s3: Client, ecr: Client, rds: Client, kms: Client) -> None:
        self._tagging = tagging
        self._s3 = s3
        self._ecr = ecr
        self._rds = rds
        self._kms = kms

    def of(self, stack: str) -> Sequence[Leftover]:
        found = self._tagging.pages(
            "get_resources",
            "ResourceTagMappingList",
            TagFilters=[{"Key": STACK_TAG, "Values": [stack]}],
            ResourceTypeFilters=list(_KINDS),
        )
        return [_leftover(str(one["ResourceARN"])) for one in found]

    def delete(self, one: Leftover) -> None:
        {
            "bucket": self._delete_bucket,
            "repository": self._delete_repository,
            "snapshot": self._delete_snapshot,
            "key": self._delete_key,
        }[one.kind](one.name)

    def unprotect_database(self, name: str) -> None:
        self._rds.found(
            ("DBInstanceNotFound", "DBInstanceNotFoundFault"),
            "modify_db_instance",
            DBInstanceIdentifier=name,
            DeletionProtection=False,
            ApplyImmediately=True,
        )

    def _delete_bucket(self, name: str) -> None:
        while True:
            page = self._s3.found(_NO_BUCKET, "list_object_versions", Bucket=name, MaxKeys=_AT_ONCE)
            if page is None:
                return
            held = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if not held:
                break
            which = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in held]
            answer = self._s3.call(
                "delete_objects", Bucket=name, Delete={"Objects": which, "Quiet": True}
            )
            for fault in answer.get("Errors", ()):
                raise CloudError(fault["Code"], f"s3://{name}/{fault['Key']}: {fault['Message']}")
        self._s3.found(_NO_BUCKET, "delete_bucket", Bucket=name)

    def _delete_repository(self, name: str) -> None:
        gone = ("RepositoryNotFoundException",)
        self._ecr.found(gone, "delete_repository", repositoryName=name, force=True)

    def _delete_snapshot(self, name: str) -> None:
        gone = ("DBSnapshotNotFound", "DBSnapshotNotFoundFault")
        self._rds.found(gone, "delete_db_snapshot", DBSnapshotIdentifier=name)

    def _delete_key(self, name: str) -> None:
        going = ("KMSInvalidStateException", "NotFoundException")
        self._kms.found(going, "schedule_key_deletion", KeyId=name, PendingWindowInDays=_KEY_DAYS)


def _leftover(arn: str) -> Leftover:
    """``arn:aws:SERVICE:REGION:ACCOUNT:[KIND/ or KIND:]NAME``"""
    _, _, service, _, _, rest = arn.split(":", 5)
    if service == "s3":
        return Leftover("bucket", rest)
    at = rest.index(":" if service == "rds" else "/")
    return Leftover(_KINDS[f"{service}:{rest[:at]}"], rest[at + 1 :])
