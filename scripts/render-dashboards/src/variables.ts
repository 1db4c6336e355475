// Finds out what the dashboard's variables can be and what they are.
import type { TimeRange } from '@grafana/data';
import { interpolateQueryExpr } from '../node_modules/@grafana/prometheus/dist/esm/escaping.mjs';
import type { VariableModel } from './dashboard';
import { createInterpolate, type Variable } from './interpolate';
import { queryVariable } from './prometheus';

type Option = { text: string; value: string };

/** In their order, since one may ask for those before it. */
export async function resolveVariables(models: VariableModel[], range: TimeRange, given: Record<string, string>) {
  const variables: Variable[] = [];
  for (const model of models) {
    const options = await optionsOf(model, range, variables);
    variables.push({
      name: model.name,
      label: model.label || model.name,
      hide: model.hide ?? 0,
      multi: Boolean(model.multi),
      includeAll: Boolean(model.includeAll),
      allValue: model.allValue || undefined,
      options,
      chosen: chosenOf(model, options, given[model.name]),
    });
  }
  for (const name of Object.keys(given)) {
    if (!variables.some((variable) => variable.name === name)) {
      console.warn(`the dashboard has no variable ${name}`);
    }
  }
  return variables;
}

async function optionsOf(model: VariableModel, range: TimeRange, before: Variable[]): Promise<Option[]> {
  const plain = (values: string[]) => values.map((value) => ({ text: value, value }));
  const text = typeof model.query === 'string' ? model.query : (model.query?.query ?? model.definition ?? '');
  switch (model.type) {
    case 'query': {
      const query = createInterpolate(before, range)(text, {}, interpolateQueryExpr);
      return sorted(matched(await queryVariable(query.trim(), range), model.regex), model.sort ?? 0);
    }
    case 'custom':
      return (text.match(/(?:\\,|[^,])+/g) ?? []).map((part: string) => {
        const [, name, value] = part.match(/^\s*(.+?)\s:\s(.+?)\s*$/) ?? [];
        return name ? { text: name, value } : { text: part.trim(), value: part.trim() };
      });
    case 'interval':
      return plain(text.split(',').map((part: string) => part.trim()));
    case 'datasource':
      // The one that there is.
      return [{ text: 'Prometheus', value: 'prometheus' }];
    default:
      return plain([String(text)]);
  }
}

/** A regular expression filters, and its groups pick the value and the text. */
function matched(values: string[], regex = ''): Option[] {
  const [, source, flags] = regex.match(/^\/(.*)\/([a-z]*)$/s) ?? [null, regex, ''];
  const options = new Map<string, Option>();
  for (const whole of values) {
    if (!source) {
      options.set(whole, { text: whole, value: whole });
      continue;
    }
    const match = whole.match(new RegExp(source, flags.replace('g', '')));
    if (match) {
      const value = match.groups?.value ?? match.groups?.text ?? match[1] ?? match[0];
      options.set(value, { value, text: match.groups?.text ?? value });
    }
  }
  return [...options.values()];
}

function sorted(options: Option[], sort: number): Option[] {
  if (sort === 0) {
    return options;
  }
  const kind = Math.ceil(sort / 2);
  const compare = (a: Option, b: Option) => {
    if (kind === 2) {
      return (parseFloat(a.text.replace(/^\D+/, '')) || 0) - (parseFloat(b.text.replace(/^\D+/, '')) || 0);
    }
    return a.text.localeCompare(b.text, undefined, {
      sensitivity: kind === 3 ? 'base' : 'variant',
      numeric: kind === 4,
    });
  };
  const ascending = [...options].sort(compare);
  return sort % 2 === 0 ? ascending.reverse() : ascending;
}

function chosenOf(model: VariableModel, options: Option[], given?: string): string[] {
  if (given !== undefined) {
    const values = model.multi ? given.split(',') : [given];
    return values.includes('All') || values.includes('$__all') ? ['$__all'] : values;
  }
  if (model.type === 'constant' || model.type === 'textbox') {
    return [options[0]?.value ?? ''];
  }
  const current = [model.current?.value ?? []].flat().filter((value) => value !== '');
  if (model.includeAll && (current.includes('$__all') || current.length === 0)) {
    return ['$__all'];
  }
  // What was saved and is no more gives way to the first that there is.
  const there = current.filter((value) => options.some((option) => option.value === value));
  return there.length ? there : options.slice(0, 1).map((option) => option.value);
}
