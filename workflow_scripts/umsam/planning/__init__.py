"""What runs before any job: settings, cases, paths, and which results can be made.

The rule files call it and hold no logic. It imports the standard library, jsonschema and yaml
alone.
"""
