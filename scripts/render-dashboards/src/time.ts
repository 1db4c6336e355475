// Time ranges and the intervals that Grafana derives from them.
import { dateMath, dateTime, makeTimeRange, rangeUtil, type RawTimeRange, type TimeRange } from '@grafana/data';

export function resolveRange(raw: RawTimeRange): TimeRange {
  const from = dateMath.toDateTime(raw.from, { roundUp: false });
  const to = dateMath.toDateTime(raw.to, { roundUp: true });
  if (!from?.isValid() || !to?.isValid()) {
    throw new Error(`no time range: from ${raw.from} to ${raw.to}`);
  }
  return { ...makeTimeRange(from, to), raw };
}

/** A panel's "relative time" and "time shift" replace or move the dashboard's range. */
export function panelRange(range: TimeRange, timeFrom?: string, timeShift?: string): TimeRange {
  let result = timeFrom ? resolveRange({ from: `now-${timeFrom}`, to: 'now' }) : range;
  if (timeShift) {
    const by = rangeUtil.intervalToMs(timeShift);
    result = makeTimeRange(dateTime(result.from.valueOf() - by), dateTime(result.to.valueOf() - by));
  }
  return result;
}

export interface Step {
  stepMs: number;
  rateIntervalMs: number;
}

/**
 * As Grafana does: no more points than pixels, and no step below the panel's min interval; the rate interval goes by what
 * the query, or else the data source, says of the time between two scrapes.
 */
export function stepFor(
  range: TimeRange,
  maxDataPoints: number,
  minStep: { query?: string; panel?: string },
  scrape: string
): Step {
  const scrapeMs = rangeUtil.intervalToMs(minStep.query || scrape);
  const lowest = minStep.query || minStep.panel || scrape;
  const { intervalMs } = rangeUtil.calculateInterval(range, maxDataPoints, lowest);
  // Prometheus refuses more than 11,000 points a series.
  const safeMs = Math.ceil((range.to.valueOf() - range.from.valueOf()) / 11000);
  const stepMs = Math.max(intervalMs, scrapeMs, safeMs);
  return { stepMs, rateIntervalMs: Math.max(stepMs + scrapeMs, 4 * scrapeMs) };
}

export function formatMs(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}
