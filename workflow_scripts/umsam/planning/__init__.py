"""What runs before any job: settings, cases, paths, and which results can be made.

The rule files call it and hold no logic. It imports the standard library, jsonschema and yaml
alone. Reading order:

1. `planners`: the objects that the rules call.
2. `configuration`, `validation`: defaults, data sets and the user's settings; their checks.
3. `cases`, `sample_sheet`: the cases of a data set and their files.
4. `stages`: inputs and parameters of the stages that depend on settings.
5. `baselines`, `comparison`: the rows of Table 1, which of them can run, and what they need.
6. `weights`, `sam_variants`, `remote_files`, `descriptions`: pretrained models and their files.
7. `figures`, `targets`: what a run makes, and what each target asks for.
8. `requests`, `headers`: memory and time of a job by the size of its volumes.
9. `code_hash`, `job_logs`, `guard`, `wildcards`: the link to Snakemake.
"""
