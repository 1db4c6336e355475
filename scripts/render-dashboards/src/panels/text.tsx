// The text panel.
import { renderTextPanelMarkdown, textUtil } from '@grafana/data';
import type { PanelProps } from '../panel';

export function TextPanel({ data, options, width, height }: PanelProps) {
  const content = data.interpolate(options.content ?? '', {}, options.mode === 'code' ? undefined : 'html');
  if (options.mode === 'code') {
    return <pre style={{ width, height, margin: 0, overflow: 'hidden' }}>{content}</pre>;
  }
  const html = options.mode === 'html' ? textUtil.sanitizeTextPanelContent(content) : renderTextPanelMarkdown(content);
  return (
    <div
      className="markdown-html"
      style={{ width, height, overflow: 'hidden' }}
      dangerouslySetInnerHTML={{ __html: html }}
    />
  );
}
