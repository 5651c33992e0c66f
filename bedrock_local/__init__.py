"""A local Bedrock: AWS's wire, AWS's rules, no model behind it."""
