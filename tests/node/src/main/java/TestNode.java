import java.nio.file.Path;
import java.text.BreakIterator;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.lucene.util.IOUtils;
import org.opensearch.Version;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/**
 * An OpenSearch node of one process, with the modules of the minimal distribution that the tests need.
 *
 * <p>Arguments are settings, as NAME=VALUE; path.home is one that must be there. The node is closed in good order when its
 * standard input ends, so that it never outlives who started it; unless something was written there, path.home is then
 * removed. Compiled against OpenSearch 2, it runs with 3 as well.
 */
public final class TestNode extends Node {
  private static final boolean IS_2 = Version.CURRENT.major < 3;

  @SuppressWarnings({"unchecked", "rawtypes"}) // classes of plugins in OpenSearch 2, PluginInfos in 3
  private TestNode(Environment environment, Collection plugins) {
    super(environment, plugins, true);
  }

  public static void main(String[] arguments) throws Exception {
    Settings.Builder settings = Settings.builder();
    for (String argument : arguments) {
      String[] setting = argument.split("=", 2);
      settings.put(setting[0], setting[1]);
    }
    Environment environment =
        InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), null, () -> "node");
    boolean keeps = false;
    try (Node node = new TestNode(environment, plugins())) {
      node.start();
      while (System.in.read() >= 0) {
        keeps = true;
      }
    }
    if (!keeps) {
      IOUtils.rm(Path.of(environment.settings().get("path.home")));
    }
  }

  private static List<Object> plugins() throws ClassNotFoundException {
    List<Object> plugins = new ArrayList<>();
    plugins.add(plugin("transport.Netty4"));
    plugins.add(plugin("index.mapper.MapperExtras"));
    plugins.add(plugin("index.reindex.Reindex"));
    plugins.add(plugin("painless.Painless"));
    if (knowsThai()) {
      plugins.add(plugin("analysis.common.CommonAnalysis"));
    }
    if (TestNode.class.getResource("/org/opensearch/knn/plugin/KNNPlugin.class") != null) {
      plugins.add(plugin("knn.plugin.KNN")); // for tests/neighbours
    }
    return plugins;
  }

  private static Object plugin(String name) throws ClassNotFoundException {
    Class<?> plugin = Class.forName("org.opensearch." + name + (IS_2 ? "Plugin" : "ModulePlugin"));
    if (IS_2) {
      return plugin;
    }
    return new PluginInfo(
        plugin.getName(), "", "", Version.CURRENT, "17", plugin.getName(), null, List.of(), false);
  }

  /** With that plugin no index can be made on a Java of which the language data was left out (Lucene's own check). */
  private static boolean knowsThai() {
    BreakIterator words = BreakIterator.getWordInstance(new Locale("th"));
    words.setText("\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22");
    return words.isBoundary(4);
  }
}
