export {
  dot,
  frame,
  line,
  link,
  plot,
  pointer,
  rectX,
  ruleX,
  ruleY,
  text,
  tickX,
  tip,
} from "@observablehq/plot";
