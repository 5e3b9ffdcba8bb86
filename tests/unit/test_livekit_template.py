"""The self-hosted LiveKit's template: its doors, its nodes' programs, and how a node goes."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.cell.livekit_binary import VERSION
from tests.livekit_node import (
    ADDRESS,
    PAIR,
    PASSWORD,
    file_of,
    programs,
    template,
    user_data,
    written_config,
)
from tests.shell import shell_faults


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return template()["Resources"]  # type: ignore[no-any-return]


def of_type(resources: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in resources.values() if one["Type"] == kind]


@pytest.mark.parametrize("path", ["", "/usr/local/bin/livekit-drain"])
def test_a_shell_linter_finds_nothing_in_what_a_node_runs(path: str) -> None:
    script = file_of(user_data(), path) if path else user_data()

    assert shell_faults(script) == ""


def test_a_server_is_told_its_public_address_its_peers_and_its_cell(tmp_path: Path) -> None:
    config = yaml.safe_load(written_config(tmp_path).read_text(encoding="utf-8"))

    assert config["rtc"]["node_ip"] == ADDRESS
    assert config["redis"] == {
        "address": "master.store.example.com:6379",
        "use_tls": True,
        "password": PASSWORD,
    }
    assert config["keys"] == {PAIR["livekit_api_key"]: PAIR["livekit_api_secret"]}
    assert config["webhook"] == {
        "api_key": PAIR["livekit_api_key"],
        "urls": ["https://euc1.rapido.example.com/api/v1/webhooks/livekit"],
        "filter_params": {"include_events": ["room_finished"]},
    }
    assert config["turn"]["domain"] == "turn-euc1.rapido.example.com"
    assert config["turn"]["external_tls"] is True


def test_secrets_are_in_a_file_of_roots_that_no_disk_keeps(tmp_path: Path) -> None:
    path = written_config(tmp_path)
    unit = file_of(user_data(), "/etc/systemd/system/livekit.service")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "RuntimeDirectory=livekit\n" in unit
    assert "/run/livekit/config.yaml:/livekit.yaml:ro" in unit


def test_user_data_names_secrets_and_holds_none(resources: dict[str, Any]) -> None:
    raw = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]

    assert "resolve:" not in raw["Fn::Sub"]
    assert {"${Keys}", "${StorePassword}"} <= set(re.findall(r"\$\{\w+\}", raw["Fn::Sub"]))
    for secret in of_type(resources, "AWS::SecretsManager::Secret"):
        assert secret["GenerateSecretString"]["PasswordLength"] >= 32
        assert "SecretString" not in secret


def test_doors_to_the_world_are_tls_or_encrypted_media_and_lead_where_the_server_listens(
    resources: dict[str, Any], tmp_path: Path
) -> None:
    config = yaml.safe_load(written_config(tmp_path).read_text(encoding="utf-8"))
    groups = of_type(resources, "AWS::EC2::SecurityGroup")
    rules = [rule for one in groups for rule in one["SecurityGroupIngress"]]
    world = {
        (rule["IpProtocol"], f"{rule['FromPort']}-{rule['ToPort']}")
        for rule in rules
        if "CidrIp" in rule
    }
    udp, tcp, turn = (
        config["rtc"]["udp_port"],
        config["rtc"]["tcp_port"],
        config["turn"]["udp_port"],
    )

    assert world == {
        ("tcp", "443-443"),
        ("udp", udp),
        ("tcp", f"{tcp}-{tcp}"),
        ("udp", f"{turn}-{turn}"),
    }
    assert [one["Port"] for one in of_type(resources, TARGETS)] == [
        config["port"],
        config["turn"]["tls_port"],
    ]


TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"


def test_every_listener_speaks_tls_at_443(resources: dict[str, Any]) -> None:
    listeners = of_type(resources, "AWS::ElasticLoadBalancingV2::Listener")

    assert len(listeners) == 2
    for one in listeners:
        assert (one["Protocol"], one["Port"]) == ("TLS", 443)
        assert one["Certificates"] == [{"CertificateArn": {"Ref": "Certificate"}}]
        assert "TLS13-1-2" in one["SslPolicy"]


def test_the_certificate_holds_the_names_that_lead_to_the_balancers(
    resources: dict[str, Any],
) -> None:
    certificate = resources["Certificate"]["Properties"]
    names = [certificate["DomainName"], *certificate["SubjectAlternativeNames"]]
    records = of_type(resources, "AWS::Route53::RecordSet")

    assert names == [one["Name"] for one in records]
    assert [one["DomainName"] for one in certificate["DomainValidationOptions"]] == names


def test_a_node_keeps_its_credentials_and_its_disk_to_itself(resources: dict[str, Any]) -> None:
    data = resources["LaunchTemplate"]["Properties"]["LaunchTemplateData"]

    assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert "KeyName" not in data
    for statement in resources["Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
        assert "*" not in statement["Action"]
        assert statement["Resource"] != "*"


def test_the_store_is_encrypted_and_asks_for_a_password(resources: dict[str, Any]) -> None:
    store = resources["Store"]["Properties"]

    assert (store["TransitEncryptionEnabled"], store["AtRestEncryptionEnabled"]) == (True, True)
    assert store["AuthToken"] == {
        "Fn::Sub": "{{resolve:secretsmanager:${StorePassword}:SecretString}}"
    }


def test_the_server_is_the_version_that_is_tried_here() -> None:
    image = template()["Parameters"]["LivekitImage"]

    assert f":{VERSION}@sha256:" in image["Default"]
    assert re.fullmatch(image["AllowedPattern"], image["Default"])
    assert not re.fullmatch(image["AllowedPattern"], f"livekit/livekit-server:{VERSION}")


def test_a_node_lets_its_rooms_end_once_its_group_lets_it_go(tmp_path: Path) -> None:
    script = tmp_path / "livekit-drain"
    script.write_text(file_of(user_data(), "/usr/local/bin/livekit-drain"), encoding="utf-8")
    log, asked = tmp_path / "log", tmp_path / "asked"
    environment = programs(
        tmp_path / "bin",
        curl=f"""case "$*" in *api/token*) echo token ;; *)
            echo >>{asked}; case $(wc -l <{asked}) in
            1) exit 22 ;; 2) echo InService ;; *) echo Terminated ;; esac ;; esac""",
        sleep=f'echo "sleep $*" >>{log}',
        systemctl=f'echo "systemctl $*" >>{log}',
        aws=f'echo "aws $*" >>{log}',
    )

    subprocess.run(["bash", script, "i-0abc"], env=environment, check=True, timeout=30)

    *waits, stop, done = log.read_text(encoding="utf-8").splitlines()
    assert waits == ["sleep 5", "sleep 5"]
    assert stop == "systemctl stop livekit"
    assert done.startswith("aws autoscaling complete-lifecycle-action --region eu-central-1 ")
    assert "--auto-scaling-group-name rapido-euc1-livekit " in done
    assert "--lifecycle-hook-name terminating --instance-id i-0abc " in done


def test_rooms_have_as_long_as_the_hook_waits(resources: dict[str, Any]) -> None:
    group = resources["Group"]["Properties"]
    (hook,) = group["LifecycleHookSpecificationList"]
    unit = file_of(user_data(), "/etc/systemd/system/livekit.service")

    assert group["AutoScalingGroupName"] == {"Fn::Sub": "rapido-${CellName}-livekit"}
    assert hook["LifecycleHookName"] == "terminating"
    assert hook["HeartbeatTimeout"] == {"Ref": "DrainSeconds"}
    assert "ExecStop=/usr/bin/docker stop -t 3000 livekit\n" in unit
    for targets in of_type(resources, TARGETS):
        attributes = {one["Key"]: one["Value"] for one in targets["TargetGroupAttributes"]}
        assert attributes["deregistration_delay.connection_termination.enabled"] == "false"
