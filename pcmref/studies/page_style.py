"""How a page looks: on a telephone, on a desk, on paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """\
:root { color-scheme: light; --ink: #1c1e21; --faint: #5c6168; --line: #d9dce0; --ground: #ffffff; --soft: #f5f6f7; }
* { box-sizing: border-box; }
html { background: var(--ground); color: var(--ink); -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .6rem; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 3rem 0 1rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 2rem 0 .6rem; }
p, dl, figcaption { max-width: 44rem; }
p { margin: 0 0 1rem; }
.lead { font-size: 1.1rem; color: var(--faint); }
.unfinished { padding: .6rem .9rem; border-left: 4px solid #b45309; background: #fdf6ec; }
.wide { max-width: 100%; overflow-x: auto; margin: 0 0 1rem; }
figure .wide { margin: 0; }
.wide:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px; }
figure { margin: 0 0 2.5rem; }
figure svg { display: block; width: 100%; min-width: 34rem; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif !important; }
figcaption { margin-top: .6rem; font-size: .9rem; color: var(--faint); }
figcaption strong { color: var(--ink); }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .85em; }
code { overflow-wrap: anywhere; }
pre { margin: 0; padding: .9rem 1rem; background: var(--soft); border-radius: 4px; line-height: 1.5; tab-size: 4; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .8rem .28rem 0; text-align: left; vertical-align: top; font-weight: 400; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--line); }
.n { text-align: right; }
.digest { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .8rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .7rem; overflow-wrap: anywhere; }
dl { font-size: .925rem; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.4rem; }
  h2 { margin-top: 2.2rem; }
  .lead { font-size: 1rem; }
}
@page { margin: 16mm 14mm; }
@media print {
  body { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  figure, tr, .unfinished { break-inside: avoid; }
  .wide { overflow: visible; }
  figure svg { min-width: 0; max-height: 205mm; }
  figure:first-of-type svg { max-height: 150mm; }
  thead { display: table-header-group; }
  table { font-size: 7.5pt; max-width: 100%; }
  th, td { white-space: normal; padding-right: 1.6mm; }
  .n, .short { white-space: nowrap; }
  .cells thead th { white-space: normal; }
  .cells tbody th:not(.short) { overflow-wrap: anywhere; min-width: 9mm; }
  .digest { overflow-wrap: anywhere; font-size: 6.5pt; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
"""
