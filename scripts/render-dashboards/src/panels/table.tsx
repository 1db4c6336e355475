// The table panel: Grafana's table, of one frame at a time.
import { TableNG } from '@grafana/ui/unstable';
import type { PanelProps } from '../panel';

const PICKER_HEIGHT = 32;

export function TablePanel({ data, options, width, height }: PanelProps) {
  const many = data.frames.length > 1;
  const index = data.frames[options.frameIndex] ? options.frameIndex : 0;
  const frame = data.frames[index];
  return (
    <>
      <TableNG
        data={frame}
        width={width}
        height={many ? height - PICKER_HEIGHT : height}
        noHeader={!options.showHeader}
        showTypeIcons={options.showTypeIcons}
        cellHeight={options.cellHeight}
        maxRowHeight={options.maxRowHeight}
        sortBy={options.sortBy}
        frozenColumns={options.frozenColumns?.left}
        enablePagination={options.enablePagination}
        fieldConfig={data.fieldConfig}
        noValue={data.fieldConfig.defaults.noValue}
        timeRange={data.range}
        structureRev={1}
        // Every row is to be in the picture that fits, whatever has been scrolled to.
        enableVirtualization={false}
        resizable
      />
      {many && (
        <div style={{ height: PICKER_HEIGHT, padding: '6px 8px', opacity: 0.7 }}>
          {frame.name ?? frame.refId} ▾ (1 of {data.frames.length} tables; Grafana lets you choose)
        </div>
      )}
    </>
  );
}
