"""The template as the local cell reads it."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from ops.cell.cron import Cron
from ops.cell.files import ROOT
from ops.cell.functions import Functions
from ops.cell.intrinsics import TemplateError
from ops.cell.sources import ApiRoute, EventRule, Schedule
from ops.cell.template import Deployment, Template

REGION = "us-west-2"
REAL_PARAMETERS = {
    "CellName": "desk",
    "StoreUrl": "redis://store",
    "DatabaseUrl": "postgresql://database",
    "LivekitServers": "[]",
    "LivekitSecretId": "secret",
}


def written(folder: Path, text: str) -> Template:
    path = folder / "cell.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return Template(path)


def with_properties(folder: Path, properties: str) -> Deployment:
    """One function F with these properties, and a queue Q."""
    text = "Parameters: {Name: {Type: String, Default: desk}}\nResources:\n"
    text += "  Q: {Type: AWS::SQS::Queue}\n"
    text += f"  F:\n    Type: AWS::Serverless::Function\n    Properties: {properties}\n"
    return written(folder, text).resolve({}, {"Q": "http://queue"}, REGION)


@pytest.mark.parametrize(
    ("written_as", "value"),
    [
        ("!Ref Name", "desk"),
        ("!Ref AWS::Region", REGION),
        ("!Ref Q", "http://queue"),
        ("!GetAtt Q.Arn", f"arn:aws:sqs:{REGION}:123456789012:Q"),
        ("!GetAtt F.Arn", f"arn:aws:lambda:{REGION}:123456789012:function:F"),
        ('!Sub "${Name}-${Q.QueueName}-${!Name}"', "desk-Q-${Name}"),
        ('!Sub ["${A}/${Name}", {A: !Ref Q}]', "http://queue/desk"),
        ('!Join ["-", [a, !Ref Name]]', "a-desk"),
        ('!Select [1, !Split [",", "a,b"]]', "b"),
        ("{Ref: Name}", "desk"),
        ("true", "true"),
        ("7", "7"),
    ],
)
def test_a_variable_is_resolved(tmp_path: Path, written_as: str, value: str) -> None:
    variables = f"{{Handler: a.b, Environment: {{Variables: {{X: {written_as}}}}}}}"
    assert with_properties(tmp_path, variables).functions["F"].environment == {"X": value}


def test_a_variable_without_a_value_is_left_out(tmp_path: Path) -> None:
    variables = "{Handler: a.b, Environment: {Variables: {X: !Ref AWS::NoValue}}}"
    assert with_properties(tmp_path, variables).functions["F"].environment == {}


@pytest.mark.parametrize("reference", ["!Ref Nothing", '!Sub "${Nothing}"', "!GetAtt Nothing.Arn"])
def test_an_unknown_reference_names_resource_and_property(tmp_path: Path, reference: str) -> None:
    variables = f"{{Handler: a.b, Environment: {{Variables: {{X: {reference}}}}}}}"
    with pytest.raises(TemplateError, match=r"F\.Environment\.Variables\.X.*Nothing"):
        with_properties(tmp_path, variables)


def test_an_unknown_function_is_named(tmp_path: Path) -> None:
    variables = "{Handler: a.b, Environment: {Variables: {X: {Fn::ImportValue: other}}}}"
    with pytest.raises(TemplateError, match="Fn::ImportValue is not understood"):
        with_properties(tmp_path, variables)


def test_an_undeclared_parameter_is_refused(tmp_path: Path) -> None:
    template = written(tmp_path, "Resources: {Q: {Type: AWS::SQS::Queue}}")
    with pytest.raises(TemplateError, match=r"Parameters\.Typo"):
        template.resolve({"Typo": "x"}, {})


def test_a_parameter_and_a_resource_cannot_share_a_name(tmp_path: Path) -> None:
    text = "{Parameters: {Q: {Type: String}}, Resources: {Q: {Type: AWS::SQS::Queue}}}"
    with pytest.raises(TemplateError, match="Q: a parameter and a resource"):
        written(tmp_path, text).resolve({}, {})


def test_globals_hold_unless_the_function_says_otherwise(tmp_path: Path) -> None:
    template = written(
        tmp_path,
        """
        Globals:
          Function: {Timeout: 15, MemorySize: 512, Environment: {Variables: {A: all, B: all}}}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties: {Handler: a.b, Timeout: 50, Environment: {Variables: {B: own}}}
        """,
    )
    function = template.resolve({}, {}).functions["F"]
    assert (function.timeout_s, function.memory_mb) == (50, 512)
    assert function.environment == {"A": "all", "B": "own"}


def test_functions_that_disagree_on_a_variable_cannot_share_a_process(tmp_path: Path) -> None:
    template = written(
        tmp_path,
        """
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties: {Handler: a.b, Environment: {Variables: {A: one}}}
          G:
            Type: AWS::Serverless::Function
            Properties: {Handler: a.c, Environment: {Variables: {A: two}}}
        """,
    )
    with pytest.raises(TemplateError, match=r"G\.Environment\.A"):
        template.resolve({}, {}).environment()


def test_event_sources_are_read(tmp_path: Path) -> None:
    function = with_properties(
        tmp_path,
        """
      Handler: a.b
      Events:
        One: {Type: Api, Properties: {Path: /x, Method: get, Auth: {Authorizer: AWS_IAM}}}
        Two: {Type: Schedule, Properties: {Schedule: rate(2 minutes), Input: '{"a": 1}'}}
        Off: {Type: Schedule, Properties: {Schedule: rate(1 hour), Enabled: false}}
        Three: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn, BatchSize: 4}}
        Four: {Type: Schedule, Properties: {Schedule: "cron(0 8 * * ? *)"}}
        Five: {Type: EventBridgeRule, Properties: {Pattern: {source: [aws.ec2]}}}
        Six: {Type: EventBridgeRule, Properties: {Pattern: {source: [a]}, InputPath: $.detail}}
        Seven: {Type: Schedule, Properties: {Schedule: "cron(0 8 L * ? *)"}}
        Eight: {Type: IoTRule, Properties: {Sql: select}}
    """,
    ).functions["F"]
    assert function.routes == (ApiRoute("GET", "/x", signed=True),)
    calendar = Cron.read("cron(0 8 * * ? *)")
    assert function.schedules == (
        Schedule("F.Two", 120.0, {"a": 1}), Schedule("F.Four", 0.0, None, calendar),
    )  # fmt: skip
    assert function.rules == (EventRule("F.Five", {"source": ["aws.ec2"]}),)
    assert [(q.queue, q.batch, q.reports_failures) for q in function.queues] == [("Q", 4, False)]
    assert function.unsupported == ("F.Six", "F.Seven", "F.Eight")


def test_what_starts_a_state_machine_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.asl.json").write_text("{}")
    template = written(
        tmp_path,
        """
        Resources:
          M:
            Type: AWS::Serverless::StateMachine
            Properties:
              Name: m
              DefinitionUri: m.asl.json
              Events:
                Told: {Type: EventBridgeRule, Properties: {Pattern: {detail: {a: [{prefix: x}]}}}}
                Off: {Type: EventBridgeRule, Properties: {Pattern: {}, State: DISABLED}}
                Hourly: {Type: ScheduleV2, Properties: {Schedule: rate(1 hour), Input: "{}"}}
        """,
    )
    machine = template.resolve({}, {}).state_machines["M"]
    assert machine.rules == (EventRule("M.Told", {"detail": {"a": [{"prefix": "x"}]}}),)
    assert machine.schedules == (Schedule("M.Hourly", 3600.0, {}),)
    assert machine.unsupported == ()


STANDING = """
    Parameters: {Hours: {Type: String, Default: "50 7 ? * MON-FRI *"}}
    Conditions: {Has: !Not [!Equals [!Ref Hours, ""]]}
    Resources:
      M: {Type: AWS::Serverless::StateMachine, Properties: {Name: m, DefinitionUri: m.asl.json}}
      Calendar:
        Type: AWS::Scheduler::Schedule
        Condition: Has
        Properties:
          ScheduleExpression: !Sub "cron(${Hours})"
          ScheduleExpressionTimezone: Europe/Berlin
          Target: {Arn: !Ref M, RoleArn: !GetAtt Elsewhere.Arn, Input: '{"slots":120}'}
"""


def test_a_schedule_that_stands_by_itself_starts_its_state_machine(tmp_path: Path) -> None:
    (tmp_path / "m.asl.json").write_text("{}")
    template = written(tmp_path, STANDING)

    (schedule,) = template.resolve({}, {}).state_machines["M"].schedules

    cron = Cron.read("cron(50 7 ? * MON-FRI *)", "Europe/Berlin")
    assert schedule == Schedule("Calendar.Schedule", 0.0, {"slots": 120}, cron)
    assert template.resolve({"Hours": ""}, {}).state_machines["M"].schedules == ()


def test_a_schedule_of_nothing_here_and_one_without_a_time_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.asl.json").write_text("{}")
    with pytest.raises(TemplateError, match=r"Calendar\.Target\.Arn: 'other' is none"):
        written(tmp_path, STANDING.replace("Arn: !Ref M", "Arn: other")).resolve({}, {})
    with pytest.raises(TemplateError, match=r"Calendar\.ScheduleExpression: neither"):
        written(tmp_path, STANDING).resolve({"Hours": "never"}, {})


def test_a_condition_leaves_a_function_out(tmp_path: Path) -> None:
    template = written(
        tmp_path,
        """
        Parameters: {Home: {Type: String, Default: "no"}}
        Conditions:
          IsHome: !Equals [!Ref Home, "yes"]
          IsAway: !Not [!Condition IsHome]
        Resources:
          F:
            Type: AWS::Serverless::Function
            Condition: IsHome
            Properties: {Handler: a.b}
          G:
            Type: AWS::Serverless::Function
            Condition: IsAway
            Properties: {Handler: !If [IsHome, a.home, a.away]}
        """,
    )
    assert list(template.resolve({"Home": "yes"}, {}).functions) == ["F"]
    assert template.resolve({}, {}).functions["G"].handler == "a.away"


def machine_template(folder: Path, substitutions: str) -> Template:
    task = {"Type": "Task", "Resource": "${Work}", "End": True}
    definition = json.dumps({"StartAt": "A", "States": {"A": task}})
    (folder / "one.asl.json").write_text(definition, encoding="utf-8")
    return written(
        folder,
        f"""
        Resources:
          M:
            Type: AWS::Serverless::StateMachine
            Properties:
              Name: one
              DefinitionUri: one.asl.json
              DefinitionSubstitutions: {substitutions}
        """,
    )


def test_a_state_machines_substitutions_are_made(tmp_path: Path) -> None:
    machine = machine_template(tmp_path, "{Work: done}").resolve({}, {}).state_machines["M"]
    assert machine.name == "one"
    assert json.loads(machine.definition)["States"]["A"]["Resource"] == "done"


def test_a_forgotten_substitution_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"M\.DefinitionSubstitutions: no value for 'Work'"):
        machine_template(tmp_path, "{}").resolve({}, {})


@pytest.mark.parametrize("text", ["a: [", "just words", "Resources: !Unknown x"])
def test_what_is_no_template_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError, match=r"cell\.yaml"):
        written(tmp_path, text)


def test_every_handler_the_cells_template_names_imports() -> None:
    deployment = Template(ROOT / "template.yaml").resolve(REAL_PARAMETERS, {}, REGION)
    functions = Functions(deployment.functions, REGION)
    assert all(callable(functions.handler(name)) for name in deployment.functions)


def test_a_handler_that_does_not_import_is_named(tmp_path: Path) -> None:
    deployment = with_properties(tmp_path, "{Handler: control.entrypoints.steps.nothing}")
    with pytest.raises(TemplateError, match=r"F\.Handler: 'control\.entrypoints\.steps\.nothing'"):
        Functions(deployment.functions, REGION)
