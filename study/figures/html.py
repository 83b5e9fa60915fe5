"""One HTML file of figures that needs no other file and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.figures.plotly_panel import PACKED_ID, Panel, packed_plotly

# The browser may fetch nothing, whatever the page holds.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px; max-width: 1320px; background: #fff; color: #22262b;
  font: 14px/1.45 system-ui, -apple-system, 'Segoe UI', sans-serif; }
h1 { font-size: 22px; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0; }
.note { color: #626a74; font-size: 12.5px; margin: 2px 0 6px; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 10px 0 0; }
.facts div { min-width: 0; } dt { color: #626a74; font-size: 12px; overflow-wrap: anywhere; }
dd { margin: 0; font-size: 16px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.params dd { font-size: 14px; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 16px;
  margin-top: 18px; }
section { border: 1px solid #e2e5e9; border-radius: 8px; padding: 14px; min-width: 0; }
.wide { grid-column: 1 / -1; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: 12px; }
figure { margin: 0; min-width: 0; } figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #f2f4f6; border: 3px solid #c9ced5; border-radius: 4px; }
.wrong img { border-color: #E69F00; }
figcaption { font-size: 11.5px; line-height: 1.35; overflow-wrap: anywhere; margin-top: 3px; }
.name { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; color: #626a74; }
#trouble { color: #a03800; }
"""
_SCRIPT = """
(async () => {
  const say = text => { document.getElementById('trouble').textContent = text; };
  try {
    const packed = document.getElementById('PACKED').textContent.trim();
    const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    const script = document.createElement('script');
    script.textContent = await new Response(unpacked).text();
    document.head.appendChild(script);
    const panels = JSON.parse(document.getElementById('panels').textContent);
    for (const [key, {data, layout}] of Object.entries(panels))
      await Plotly.newPlot('plot-' + key, data, layout, {responsive: true, displayModeBar: false});
  } catch (error) { say('The figures need a browser of 2023 or later: ' + error); }
})();
"""


def document(title: str, header: str, panels: Sequence[Panel], more: str = "") -> str:
    """Return a page.

    Args:
        title: HTML.
        header: HTML above the figures.
        panels: the figures in order.
        more: HTML below them.
    """
    plots = {panel.key: {"data": panel.data, "layout": panel.layout} for panel in panels}
    return "".join((
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>{header}",
        '<p id="trouble" role="status"></p><main>', *map(_section, panels), more, "</main>\n",
        f'<script type="application/json" id="panels">{inert(plots)}</script>\n',
        f'<script type="text/plain" id="{PACKED_ID}">{packed_plotly()}</script>\n',
        f"<script>{_SCRIPT.replace('PACKED', PACKED_ID)}</script></body></html>\n",
    ))  # fmt: skip


def _section(panel: Panel) -> str:
    style = ' class="wide"' if panel.wide else ""
    height = panel.layout["height"]
    return (
        f"<section{style}><h2>{escape(panel.title)}</h2>"
        f'<p class="note">{escape(panel.note)}</p><div id="plot-{panel.key}" style="height:{height}px"></div></section>'
    )


def jpeg_url(pixels: NDArray[np.uint8], side_px: int, quality: int, *, subsampling: int = 0) -> str:
    """Return an image [S, S, 3] as the data URL of a JPEG of at most ``side_px``; ``subsampling`` is Pillow's."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side_px, side_px))
    with BytesIO() as file:
        picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def inert(values: object) -> str:
    """Return JSON that cannot end the script element around it."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
