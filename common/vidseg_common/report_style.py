"""Style sheet of the reports: one column, light and dark, phone and paper."""

from __future__ import annotations

# Colours that most colour-blind readers tell apart; lines are dashed differently besides.
_LIGHT = ("#0b62a8", "#c2540a", "#17805c", "#9c3f85", "#7a6200", "#51607a")
_DARK = ("#6cb2ee", "#f2a065", "#5fd0a5", "#df93cb", "#dcc25a", "#aebbd2")
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
NUM_SERIES = len(_LIGHT)


def _palette(colors: tuple[str, ...]) -> str:
    return "".join(f"--s{i}:{color};" for i, color in enumerate(colors))


_SERIES = "\n".join(
    f".s{i}{{fill:var(--s{i});stroke:var(--s{i})}}.line.s{i},.key.s{i}{{stroke-dasharray:{dash}}}"
    for i, dash in enumerate(_DASHES)
)

STYLE = f"""
:root{{--paper:#fff;--ink:#1c2330;--soft:#5c6675;--rule:#d9dee6;--panel:#f4f6f9;
{_palette(_LIGHT)}}}
@media screen and (prefers-color-scheme:dark){{
:root{{--paper:#14181f;--ink:#e6eaf0;--soft:#a0aaba;--rule:#343c49;--panel:#1d232d;
{_palette(_DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}
main{{max-width:1040px;margin:0 auto;padding:20px 16px 40px}}
h1{{font-size:1.7rem;line-height:1.2;margin:.3em 0;overflow-wrap:anywhere}}
h2{{font-size:1.15rem;margin:2em 0 .6em;padding-bottom:.25em;border-bottom:1px solid var(--rule)}}
header p{{color:var(--soft);margin:.2em 0;max-width:70ch}}
p,li,dd{{overflow-wrap:anywhere}}
a{{color:var(--s0)}}
code,pre{{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;
font-size:.9em}}
pre{{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}}
.tiles{{display:grid;gap:10px;margin:0;
grid-template-columns:repeat(auto-fill,minmax(min(46%,150px),1fr))}}
.tiles div{{background:var(--panel);border:1px solid var(--rule);border-radius:8px;
padding:10px 12px}}
.tiles dt{{overflow-wrap:anywhere;line-height:1.25;color:var(--soft);font-size:.85rem}}
.tiles dd{{margin:0;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}}
.wide{{overflow-x:auto}}
table{{border-collapse:collapse;width:100%;font-size:.93rem}}
th,td{{padding:5px 10px;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}}
th{{color:var(--soft);font-weight:600;white-space:nowrap}}
td{{overflow-wrap:break-word}}
td:not(.number){{min-width:7em;max-width:24em}}
.number{{text-align:right;font-variant-numeric:tabular-nums}}
.legend{{display:flex;flex-wrap:wrap;gap:4px 18px;margin:.2em 0 .8em;font-size:.9rem}}
.bars{{display:grid;grid-template-columns:minmax(5em,max-content) 1fr;gap:8px 12px;
align-items:center;font-size:.93rem}}
.bars .name{{overflow-wrap:anywhere;max-width:32vw}}
.bar{{display:flex;align-items:center;gap:8px}}
.bar svg{{flex:1;min-width:0;border-radius:3px}}
.bar span{{min-width:3.4em;text-align:right;font-size:.85rem;font-variant-numeric:tabular-nums}}
rect{{stroke:none!important}}
.track{{fill:var(--panel)}}
.key{{stroke-width:4}}
.plot{{display:grid;grid-template-columns:max-content 1fr;gap:4px 8px}}
.plot svg{{width:100%;height:220px;overflow:visible}}
.scale{{display:flex;flex-direction:column;justify-content:space-between;text-align:right}}
.scale,.places{{color:var(--soft);font-size:.8rem;font-variant-numeric:tabular-nums}}
.places{{grid-column:2;display:flex;justify-content:space-between}}
.line,.grid{{fill:none!important;vector-effect:non-scaling-stroke}}
.line{{stroke-width:2;stroke-linecap:round}}
.grid{{stroke:var(--rule);stroke-width:1}}
{_SERIES}
.strip{{display:grid;gap:12px;
grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr))}}
figure{{margin:0;break-inside:avoid}}
figure img{{display:block;width:100%;height:auto;border-radius:6px}}
figcaption{{color:var(--soft);font-size:.85rem;margin-top:3px;overflow-wrap:anywhere}}
.details{{margin:0}}
.details div{{display:grid;grid-template-columns:11em 1fr;gap:2px 12px;padding:6px 0;
border-bottom:1px solid var(--rule)}}
.details dt{{color:var(--soft)}}
.details dd{{margin:0}}
@media (max-width:560px){{.details div{{grid-template-columns:1fr}}}}
@media print{{
body{{font-size:11pt}}
main{{max-width:none;padding:0}}
h2,.legend{{break-after:avoid}}
tr,.tiles div,.bars>div,.plot,.plot svg{{break-inside:avoid}}
.wide{{overflow:visible}}
.strip{{grid-template-columns:repeat(4,1fr)}}
a{{color:inherit}}
}}
"""
