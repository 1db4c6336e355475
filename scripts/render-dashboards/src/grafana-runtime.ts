// Stands for @grafana/runtime, which belongs to a running Grafana. @grafana/prometheus asks it for feature toggles while it
// escapes values, and for data sources while it links exemplars, of which we have none.
export const config = { featureToggles: {} as Record<string, boolean> };

export function getDataSourceSrv(): never {
  throw new Error('there are no data sources to look up without a Grafana server');
}
