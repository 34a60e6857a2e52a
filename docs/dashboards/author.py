"""Write the dashboards that greeninfer ships, as the JSON that Grafana imports.

    pip install 'grafana-foundation-sdk==1769699998!10.1.0'
    python docs/dashboards/author.py [FOLDER]

The same input gives the same bytes. Without FOLDER it writes the package's own files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import energy_per_request
import fleet
from grafana_foundation_sdk.cog.encoder import JSONEncoder

SHIPPED = Path(__file__).parents[2] / "greeninfer" / "dashboards" / "files" / "grafana" / "dashboards"

DASHBOARDS = {"energy-per-request.json": energy_per_request.dashboard, "fleet.json": fleet.dashboard}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in DASHBOARDS.items():
        made = make().build()
        for number, panel in enumerate(made.panels or [], start=1):
            panel.id_val = number  # links to a panel and alerts made from one go by it
        text = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(made)
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
