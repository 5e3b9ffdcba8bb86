"""What moto lacks of AWS, at the boundary that boto3 sees: tests/contract/test_aws_gaps.py.

Rules call functions and state machines (``bus``). Groups have lifecycle hooks, activities, launches
that fail (``group``, ``groups``). Nodes have prices (``prices``), and a person can take capacity
and nodes away (``desk``).
"""
