// The command for whoever runs it by its TypeScript: `basenji.js` begins sooner.
import "./basenji.js";
