import { differential } from "./differential.ts";

await differential("editable");
