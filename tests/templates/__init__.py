"""The deployed templates as CloudFormation would make them, for tests that read them."""
