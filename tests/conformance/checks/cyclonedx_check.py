"""CycloneDX's own library validates our bill of materials against the 1.6 schema, strictly, and reads it.

python cyclonedx_check.py BOM
"""

import json
import sys
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = Path(sys.argv[1]).read_text(encoding="utf-8")
validator = JsonStrictValidator(SchemaVersion.V1_6)
wrong = validator.validate_str(text)
document = json.loads(text)
document["metadata"]["component"]["type"] = "model"
bom = Bom.from_json(json.loads(text))
print(
    json.dumps(
        {
            "as it is": "ok" if wrong is None else str(wrong),
            "a word that is none": "ok" if validator.validate_str(json.dumps(document)) is None else "refused",
            "component": [bom.metadata.component.type.value, bom.metadata.component.name],
            "licences": sorted({str(one.value) for part in bom.components for one in part.licenses}),
            "descriptions": [part.description for part in bom.components if part.description],
        }
    )
)
