"""mlcroissant validates our description of a Dataset, without an error or a warning, and loads its records.

python croissant_check.py FILE
"""

import json
import sys
from pathlib import Path

import mlcroissant

dataset = mlcroissant.Dataset(jsonld=Path(sys.argv[1]))
issues = dataset.metadata.ctx.issues
records = [
    {name.partition("/")[2]: value.decode() if isinstance(value, bytes) else value for name, value in record.items()}
    for record in dataset.records("documents")
]
print(
    json.dumps(
        {
            "errors": sorted(issues.errors),
            "warnings": sorted(issues.warnings),
            "name": dataset.metadata.name,
            "licence": dataset.metadata.license,
            "description": dataset.metadata.description,
            "texts": [record["text"] for record in records],
            "fields": sorted(records[0]),
        }
    )
)
