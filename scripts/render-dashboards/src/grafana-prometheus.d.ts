// @grafana/prometheus does not export these, so they are imported by their files, which come without types.
declare module '*/escaping.mjs' {
  export function interpolateQueryExpr(
    value: string | string[],
    variable: { multi: boolean; includeAll: boolean }
  ): string;
}

declare module '*/result_transformer.mjs' {
  import type { DataFrame } from '@grafana/data';
  import type { Target } from './dashboard';

  export function transformV2(
    response: { data: DataFrame[] },
    request: { targets: Target[] },
    options: { exemplarTraceIdDestinations?: [] }
  ): { data: DataFrame[] };
}
