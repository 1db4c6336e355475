// Places rows and panels on Grafana's grid of 24 columns, repeated where a variable says so.
import type { ScopedVars } from '@grafana/data';
import type { Panel } from './dashboard';
import { chosenValues, repeatScope, type Variable } from './interpolate';
import type { PlacedPanel } from './panel';

const COLUMNS = 24;
const CELL_HEIGHT = 30;
const MARGIN = 8;

interface Cell {
  panel: Panel;
  scope: ScopedVars;
  x: number;
  y: number;
  w: number;
  h: number;
}

export function layOut(panels: Panel[], variables: Variable[], width: number, expandRows: boolean): PlacedPanel[] {
  const repeats = (panel: Panel, scope: ScopedVars): ScopedVars[] => {
    const variable = panel.repeat && variables.find((candidate) => candidate.name === panel.repeat);
    return variable ? chosenValues(variable).map((value) => ({ ...scope, ...repeatScope(variable, value) })) : [scope];
  };

  const cells: Cell[] = [];
  // Repetition makes a section higher than the JSON has it, and pushes down what follows.
  let pushed = 0;
  for (const { row, members } of sectionsOf(panels, expandRows)) {
    const top = row ? row.gridPos.y : 0;
    const heights = [...members.map(({ gridPos }) => gridPos.y + gridPos.h - top), row ? 1 : 0];
    const scopes = row ? repeats(row, {}) : [{}];
    scopes.forEach((scope, index) => {
      if (index > 0) {
        pushed += Math.max(...heights);
      }
      if (row) {
        cells.push({ panel: row, scope, x: 0, y: top + pushed, w: COLUMNS, h: 1 });
      }
      pushed += placeMembers(members, scope, pushed, repeats, cells);
    });
  }
  const column = (width + MARGIN) / COLUMNS;
  return settle(cells).map(({ panel, scope, x, y, w, h }) => ({
    panel,
    scope,
    x: x * column,
    y: y * (CELL_HEIGHT + MARGIN),
    width: w * column - MARGIN,
    height: h * (CELL_HEIGHT + MARGIN) - MARGIN,
  }));
}

/** As Grafana's grid does: what overlaps goes down, and gaps above close. */
function settle(cells: Cell[]): Cell[] {
  const settled: Cell[] = [];
  const overlaps = (a: Cell, b: Cell) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  for (const cell of [...cells].sort((a, b) => a.y - b.y || a.x - b.x)) {
    const free = (y: number) => !settled.some((other) => overlaps({ ...cell, y }, other));
    let { y } = cell;
    while (!free(y)) {
      y++;
    }
    while (y > 0 && free(y - 1)) {
      y--;
    }
    settled.push({ ...cell, y });
  }
  return settled;
}

/** A row and the panels up to the next one. A collapsed row holds its own, and shows none of them. */
function sectionsOf(panels: Panel[], expandRows: boolean): Array<{ row?: Panel; members: Panel[] }> {
  const sections: Array<{ row?: Panel; members: Panel[] }> = [{ members: [] }];
  const byPlace = [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  let pushed = 0;
  for (const panel of byPlace) {
    const moved = (one: Panel): Panel => ({ ...one, gridPos: { ...one.gridPos, y: one.gridPos.y + pushed } });
    if (panel.type !== 'row') {
      sections.at(-1)!.members.push(moved(panel));
    } else if (panel.collapsed && expandRows) {
      const members = (panel.panels ?? []).map(moved);
      sections.push({ row: { ...moved(panel), collapsed: false }, members });
      pushed += Math.max(0, ...members.map(({ gridPos }) => gridPos.y + gridPos.h - moved(panel).gridPos.y - 1));
    } else {
      sections.push({ row: moved(panel), members: [] });
    }
  }
  return sections;
}

/** Returns by how much the repeated panels made it higher. */
function placeMembers(
  members: Panel[],
  scope: ScopedVars,
  above: number,
  repeats: (panel: Panel, scope: ScopedVars) => ScopedVars[],
  cells: Cell[]
): number {
  let added = 0;
  for (const panel of members) {
    const { x, y, w, h } = panel.gridPos;
    const scopes = repeats(panel, scope);
    if (!panel.repeat || scopes.length === 0) {
      cells.push({ panel, scope, x, y: y + above + added, w, h });
      continue;
    }
    const down = panel.repeatDirection === 'v';
    const perLine = down ? 1 : Math.min(scopes.length, panel.maxPerRow ?? 4);
    const each = down ? w : COLUMNS / perLine;
    scopes.forEach((one, index) => {
      const line = Math.floor(index / perLine);
      cells.push({
        panel,
        scope: one,
        x: down ? x : (index % perLine) * each,
        y: y + above + added + line * h,
        w: each,
        h,
      });
    });
    added += (Math.ceil(scopes.length / perLine) - 1) * h;
  }
  return added;
}
